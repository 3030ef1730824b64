// SPDX-License-Identifier: BSD-3-Clause
// The Richardson-Lucy loop on the device; mirrors cpu/richardson_lucy.hpp, where the
// equations and their sources stand. Everything is queued at once: nothing waits, nothing
// is allocated. In pencil passes an iteration moves 84 bytes a voxel of a volume in
// float32, 52 of an image; beside torch.fft the same operations run on whole arrays.
#pragma once

#include "cuda/fft_convolve.hpp"

namespace otfuse::cuda {

template <class real_t>
bool momentum(const RichardsonLucyParams<real_t>& p) {
  return p.acceleration == Acceleration::kShb;
}

// What the operations need besides the parameters, in one piece of memory.
template <class real_t>
struct LoopMemory {
  void* spectrum;
  LoopArrays<real_t> arrays;
  double* partial;

  static int64_t partials(const RichardsonLucyParams<real_t>& p) {
    return p.batch * p.grid.z * ceil_div(p.grid.y, 2);  // one a pair at the most
  }
  static int64_t spectra_bytes(const RichardsonLucyParams<real_t>& p, int64_t stored) {
    return p.batch * otf_size(p.grid) / 2 * stored;
  }
  // `stored`: bytes of a complex value of the spectra; 0: without room for them.
  static int64_t bytes(const RichardsonLucyParams<real_t>& p, int64_t stored) {
    const int64_t whole = p.batch * p.grid.count();
    const int64_t reals = ceil_div(whole * (1 + momentum(p) + p.weighted), 2) * 2;
    return spectra_bytes(p, stored) + reals * int64_t(sizeof(real_t)) +
           partials(p) * int64_t(sizeof(double));
  }

  LoopMemory(const RichardsonLucyParams<real_t>& p, void* memory, int64_t stored) {
    const int64_t whole = p.batch * p.grid.count();
    spectrum = memory;
    auto* end = reinterpret_cast<real_t*>(static_cast<std::byte*>(memory) +
                                          spectra_bytes(p, stored));
    const auto take = [&](bool wanted) {
      real_t* const array = wanted ? end : nullptr;
      end += wanted ? whole : 0;
      return array;
    };
    arrays = {p.grid,           take(true), take(momentum(p)),
              take(p.weighted), p.floor,    p.otf_back != nullptr};
    end += whole * (1 + momentum(p) + p.weighted) % 2;
    partial = reinterpret_cast<double*>(end);
  }
};

template <bool kFull, class real_t>
RatioOp<real_t, kFull> ratio_of(const RichardsonLucyParams<real_t>& p) {
  return {{p.image, p.grid, real_t(-1)},
          p.floor,
          p.background,
          {p.background_map, p.grid},
          {p.judged, p.grid, real_t(-1)},
          p.judged_offset};
}

// The operations of the loop, served by rows(op, reached, partial) of Server: rows of
// spectra, or of arrays in space.
template <class real_t, class Launch, class Server>
class LoopSteps {
 public:
  // The ratio is made of the rows in `seen` only.
  LoopSteps(const RichardsonLucyParams<real_t>& p, const LoopMemory<real_t>& m,
            const Extents& seen, const Server& server, const Launch& launch)
      : p(p), m(m), seen(seen), server(server), launch(launch) {}

  void load() const {
    copy_in(p.estimate, m.arrays.estimate);
    if (momentum(p)) copy_in(p.previous ? p.previous : p.estimate, m.arrays.previous);
  }
  void observe() const {
    server.template rows<RowMode::kEnter>(
        ObservedSource<real_t>{{p.image, p.grid, real_t(-1)}}, seen);
  }
  void weigh() const {
    server.template rows<RowMode::kLeave>(WeightSink<real_t>{m.arrays}, p.grid);
  }
  void start() const {
    server.template rows<RowMode::kEnter>(FirstPoint<real_t>{m.arrays, step(0)}, p.grid);
  }
  void compare(int64_t i) const {
    if (p.divergence == nullptr && !p.background_map) {
      server.template rows<RowMode::kTurn>(ratio<false>(), seen);
      return;
    }
    server.template rows<RowMode::kTurn>(ratio<true>(), seen, m.partial);
    if (p.divergence == nullptr) return;
    const SumPass sum{m.partial, server.row_groups(seen), p.divergence + i, p.n_iters};
    launch(sum, p.batch, sum.shared_bytes());
  }
  void update(int64_t i) const {
    const UpdateOp<real_t> op{m.arrays, step(i), step(i + 1)};
    server.template rows<RowMode::kTurn>(op, p.grid, nullptr, i == p.n_iters - 1);
  }
  void store() const {
    copy_out(p.out, m.arrays.estimate);
    if (p.out_previous) copy_out(p.out_previous, m.arrays.previous);
  }

 private:
  real_t step(int64_t i) const {
    return momentum(p) ? momentum_step<real_t>(p.first_iteration + i + 1) : real_t(0);
  }
  template <bool kFull>
  RatioOp<real_t, kFull> ratio() const {
    return ratio_of<kFull>(p);
  }
  void copy_in(const Field<const real_t>& f, real_t* to) const {
    using Op = FieldSource<real_t>;
    const PointPass<real_t, Op, RowMode::kEnter> pass{Op{f, p.grid}, p.grid, p.grid.z,
                                                      p.grid.y,      to,     nullptr};
    launch(pass, pass.blocks(p.batch), pass.shared_bytes());
  }
  void copy_out(const Field<real_t>& f, real_t* from) const {
    using Op = FieldSink<real_t>;
    const Extents rows = reach(f.window, p.grid);
    const PointPass<real_t, Op, RowMode::kLeave> pass{Op{f, p.grid}, p.grid, rows.z,
                                                      rows.y,        from,   nullptr};
    launch(pass, pass.blocks(p.batch), pass.shared_bytes());
  }

  const RichardsonLucyParams<real_t>& p;
  const LoopMemory<real_t>& m;
  const Extents seen;
  const Server& server;
  const Launch& launch;
};

// Stored: what the spectra are kept in.
template <class Stored, class real_t, class Launch>
void richardson_lucy(const RichardsonLucyParams<real_t>& p, const Tables& tables,
                     void* workspace, const Launch& launch) {
  const Layout<real_t> l(p.grid, tables);
  const LoopMemory<real_t> m(p, workspace, sizeof(Stored));
  using Server = Passes<real_t, Launch, Stored>;
  const Server passes(l, p.batch, static_cast<Stored*>(m.spectrum), launch, p.floor);
  const Extents seen = reach(p.image.window, p.grid);
  const LoopSteps<real_t, Launch, Server> steps(p, m, seen, passes, launch);
  const auto* const otf = reinterpret_cast<const Pair<real_t>*>(p.otf);
  const auto blur = [&] { passes.convolve(otf, p.kernel, false, p.grid, seen); };
  const auto* const back =
      p.otf_back ? reinterpret_cast<const Pair<real_t>*>(p.otf_back) : otf;
  const auto correlate = [&](const Pair<real_t>* by) {
    passes.convolve(by, p.kernel, true, seen, p.grid);
  };
  steps.load();
  if (p.weighted) {
    steps.observe();
    correlate(otf);
    steps.weigh();
  }
  steps.start();
  for (int64_t i = 0; i < p.n_iters; ++i) {
    blur();
    steps.compare(i);
    correlate(back);
    steps.update(i);
  }
  steps.store();
}

// Serves whole arrays in space, between two convolutions of the caller's.
template <class real_t, class Launch>
struct Points {
  Extents grid;
  int64_t batch;
  real_t* values;  // (batch, nz, ny, nx)
  const Launch& launch;

  template <RowMode kMode, class Op>
  void rows(const Op& op, const Extents& reached, double* partial = nullptr,
            bool = false) const {
    const PointPass<real_t, Op, kMode> pass{op,        grid,   reached.z,
                                            reached.y, values, partial};
    launch(pass, pass.blocks(batch), pass.shared_bytes());
  }
  int64_t row_groups(const Extents& reached) const {
    return ceil_div(
        reached.z * ceil_div(reached.y, 2),
        int64_t(PointPass<real_t, FieldSource<real_t>, RowMode::kEnter>::kLines));
  }
};

// One operation of a loop whose convolutions are the caller's.
template <class real_t, class Launch>
void richardson_lucy_step(const RichardsonLucyParams<real_t>& p, LoopStep step, int64_t i,
                          real_t* values, void* workspace, const Launch& launch) {
  const LoopMemory<real_t> m(p, workspace, 0);
  const Points<real_t, Launch> points{p.grid, p.batch, values, launch};
  const LoopSteps<real_t, Launch, Points<real_t, Launch>> steps(p, m, p.grid, points,
                                                                launch);
  switch (step) {
    case LoopStep::kLoad:
      return steps.load();
    case LoopStep::kObserve:
      return steps.observe();
    case LoopStep::kWeigh:
      return steps.weigh();
    case LoopStep::kStart:
      return steps.start();
    case LoopStep::kCompare:
      return steps.compare(i);
    case LoopStep::kUpdate:
      return steps.update(i);
    case LoopStep::kStore:
      return steps.store();
  }
}

}  // namespace otfuse::cuda
