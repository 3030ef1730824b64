// SPDX-License-Identifier: BSD-3-Clause
// How a batch is spread over threads: many small images, one a thread; else one image at
// a time, its passes shared. Each image's memory and each thread's scratch come from one
// workspace.
#pragma once

#include <omp.h>

#include "core/window.hpp"
#include "cpu/columns.hpp"
#include "cpu/planes.hpp"
#include "cpu/workspace.hpp"

OTFUSE_BEGIN_ISA_NAMESPACE

struct JobShape {
  bool image_per_thread;
  int threads;
  int64_t images() const { return image_per_thread ? threads : 1; }
};

// Above this an image no longer shares the last cache with others, and memory would
// multiply.
inline constexpr int64_t kSmallImageBytes = int64_t(16) << 20;

inline JobShape job_shape(int64_t batch, int64_t image_bytes, int threads) {
  threads = std::max(threads, 1);
  return {batch >= threads && image_bytes <= kSmallImageBytes, threads};
}

// `extra` reals more in each thread's scratch.
template <class real_t>
int64_t job_reals(const Layout<real_t>& l, const JobShape& job, int64_t image_reals,
                  int64_t extra = 0) {
  return job.images() * image_reals + job.threads * (Scratch<real_t>::size(l) + extra);
}

// f(team, item, the image's memory, the thread's scratch) for every item of the batch.
template <class real_t, class F>
void run_job(const Layout<real_t>& l, int64_t batch, int64_t image_reals, int threads,
             F f, int64_t extra = 0) {
  const JobShape job = job_shape(batch, image_reals * int64_t(sizeof(real_t)), threads);
  const int64_t reals = job_reals(l, job, image_reals, extra);
  const Workspace workspace(size_t(reals) * sizeof(real_t));
  real_t* const images = static_cast<real_t*>(workspace.data());
  real_t* const scratches = images + job.images() * image_reals;
#pragma omp parallel num_threads(job.threads)
  {
    const int t = omp_get_thread_num();
    const Scratch<real_t> scratch(l, scratches + t * (Scratch<real_t>::size(l) + extra));
    if (job.image_per_thread) {
#pragma omp for schedule(dynamic)
      for (int64_t b = 0; b < batch; ++b)
        f(Team{false}, b, images + t * image_reals, scratch);
    } else {
      for (int64_t b = 0; b < batch; ++b) f(Team{true}, b, images, scratch);
    }
  }
}

template <class real_t>
int64_t column_limit(const Layout<real_t>& l, const Extents& reached) {
  return l.flat ? reached.y : reached.z;
}

OTFUSE_END_ISA_NAMESPACE
