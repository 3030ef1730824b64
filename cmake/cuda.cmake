# SPDX-License-Identifier: BSD-3-Clause
# Whether the CUDA engine is built, and for which GPUs: otfuse_with_cuda, otfuse_architectures,
# cuda_summary. Reads OTFUSE_CUDA and OTFUSE_CUDA_ARCHITECTURES.

set(otfuse_with_cuda OFF)
set(otfuse_architectures ${OTFUSE_CUDA_ARCHITECTURES})
string(TOUPPER "${OTFUSE_CUDA}" wanted)
if(wanted STREQUAL "AUTO")
  include(CheckLanguage)
  file(GLOB gpus /dev/nvidia[0-9]* /dev/dxg) # the second is the name under WSL
  if(NOT gpus)
    set(cuda_summary "not built: no GPU here; OTFUSE_CUDA=ON builds it for others")
  else()
    check_language(CUDA)
    if(CMAKE_CUDA_COMPILER)
      set(otfuse_with_cuda ON)
      set(otfuse_architectures native)
    else()
      set(cuda_summary "not built: no nvcc found; put it on the PATH or set CUDACXX")
    endif()
  endif()
elseif(wanted)
  include(CheckLanguage)
  check_language(CUDA)
  if(NOT CMAKE_CUDA_COMPILER)
    message(FATAL_ERROR "OTFUSE_CUDA is on, but no nvcc was found: put it on the PATH or set CUDACXX")
  endif()
  set(otfuse_with_cuda ON)
else()
  set(cuda_summary "not built: OTFUSE_CUDA is off")
endif()

if(otfuse_with_cuda)
  set(CMAKE_CUDA_ARCHITECTURES ${otfuse_architectures})
  set(CMAKE_CUDA_RUNTIME_LIBRARY Static) # no library to find where the module is imported
  set(CMAKE_CUDA_STANDARD 20)
  set(CMAKE_CUDA_STANDARD_REQUIRED ON)
  enable_language(CUDA)
  if(otfuse_architectures STREQUAL "native" AND CMAKE_CUDA_ARCHITECTURES_NATIVE)
    set(otfuse_architectures ${CMAKE_CUDA_ARCHITECTURES_NATIVE}) # by name
  endif()
  list(JOIN otfuse_architectures ", " architectures)
  set(cuda_summary "${architectures}, nvcc ${CMAKE_CUDA_COMPILER_VERSION}, static runtime")
endif()
