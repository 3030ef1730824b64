// SPDX-License-Identifier: BSD-3-Clause
// The Richardson-Lucy loop on the device; mirrors cpu/richardson_lucy.hpp, where the
// equations and their sources stand. Everything is queued at once: nothing waits, nothing
// is allocated. In pencil passes a plain iteration moves 84 bytes a voxel of a volume in
// float32, 52 of an image, and 4 more with "shb"; what updates in space moves more: the
// total variation 16, back projectors of their own at edges 20, "biggs" 40. Beside
// torch.fft all operations run in space.
#pragma once

#include "cuda/fft_convolve.hpp"
#include "cuda/rl_memory.hpp"

namespace otfuse::cuda {

// The factor of iteration i of "shb", counted from 0 in this run.
template <class real_t>
real_t momentum_step(const RichardsonLucyParams<real_t>& p, int64_t i) {
  const bool shb = p.acceleration == Acceleration::kShb;
  return shb ? momentum_step<real_t>(p.first_iteration + i + 1) : real_t(0);
}

// The sums of each item's blocks to result[item * stride].
template <class real_t, class Launch>
void add_partials(const RichardsonLucyParams<real_t>& p, const double* partial,
                  int64_t groups, double* result, int64_t stride, const Launch& launch) {
  const SumPass sum{partial, groups, result, stride};
  launch(sum, p.batch, sum.shared_bytes());
}

// The steps of the loop on arrays in space; `values` go to and come from the frequencies.
template <class real_t, class Launch>
class LoopSteps {
 public:
  LoopSteps(const RichardsonLucyParams<real_t>& p, const LoopMemory<real_t>& m,
            real_t* values, const Launch& launch)
      : p(p), m(m), values(values), launch(launch) {}

  void run(LoopStep step, int64_t i) const {
    switch (step) {
      case LoopStep::kLoad:
        return load();
      case LoopStep::kObserve:
        return enter(ObservedSource<real_t>{{p.image, p.grid, real_t(-1)}}, values);
      case LoopStep::kWeigh:
        return voxels(WeighFormula<real_t>{values, m.weight, m.estimate, p.grid.count(),
                                           p.otf_back != nullptr});
      case LoopStep::kStart:
        return start();
      case LoopStep::kCompare:
        return compare(i);
      case LoopStep::kUpdate:
        return update(i);
      case LoopStep::kStore:
        return store();
    }
  }

 private:
  bool biggs() const { return p.acceleration == Acceleration::kBiggs; }

  void load() const {
    enter(FieldSource<real_t>{p.estimate, p.grid}, m.estimate);
    if (m.change != nullptr) enter(FieldSource<real_t>{p.change, p.grid}, m.change);
    if (!accelerated(p)) return;
    enter(FieldSource<real_t>{p.previous ? p.previous : p.estimate, p.grid}, m.previous);
  }

  void start() const {
    LoopArrays<real_t> arrays = m.arrays(p, 0);
    if (biggs()) arrays.estimate = arrays.previous;  // it is the first point
    if (!accelerated(p)) arrays.previous = nullptr;
    give_point(arrays, nullptr, biggs() ? real_t(0) : momentum_step(p, 0));
  }

  void compare(int64_t i) const {
    using Op = RatioOp<real_t>;
    const PointPass<real_t, Op, RowMode::kTurn> pass{
        Op(p), p.grid, p.grid.z, p.grid.y, values, p.divergence ? m.partial : nullptr};
    launch(pass, pass.blocks(p.batch), pass.shared_bytes());
    if (p.divergence) {
      add_partials(p, m.partial, pass.groups(), p.divergence + i, p.n_iters, launch);
    }
  }

  void update(int64_t i) const {
    using Formula = AdvanceFormula<real_t>;
    voxels(Formula{m.arrays(p, i), p.grid.count(), p.acceleration, momentum_step(p, i),
                   momentum_step(p, i + 1), p.otf_back ? m.weight : nullptr, m.change,
                   values, TotalVariation<real_t>(p)},
           m.sums == nullptr ? nullptr : m.partial);
    if (!biggs()) return;
    const int64_t groups = VoxelPass<Formula>::groups(p.grid.count());
    for (int s = 0; s < Formula::kSums; ++s) {
      const double* const partial = m.partial + s * p.batch * groups;
      add_partials(p, partial, groups, m.sums + s, Formula::kSums, launch);
    }
    give_point(m.arrays(p, i + 1), m.sums, 0);
  }

  void store() const {
    const LoopArrays<real_t> last = m.arrays(p, p.n_iters);
    leave(p.out, last.estimate);
    if (p.out_previous) leave(p.out_previous, last.previous);
    if (p.out_change) leave(p.out_change, m.change);
  }

  void give_point(const LoopArrays<real_t>& arrays, const double* sums,
                  real_t step) const {
    voxels(PointFormula<real_t>{arrays, p.grid.count(), step, sums, values, biggs()});
  }

  template <class Formula>
  void voxels(const Formula& formula, double* partial = nullptr) const {
    const VoxelPass<Formula> pass{formula, p.grid.count(), p.batch, partial};
    launch(pass, pass.blocks(), pass.shared_bytes());
  }

  template <class Op>
  void enter(const Op& op, real_t* to) const {
    const PointPass<real_t, Op, RowMode::kEnter> pass{op,       p.grid, p.grid.z,
                                                      p.grid.y, to,     nullptr};
    launch(pass, pass.blocks(p.batch), pass.shared_bytes());
  }

  void leave(const Field<real_t>& f, real_t* from) const {
    using Op = FieldSink<real_t>;
    const Extents rows = reach(f.window, p.grid);
    const PointPass<real_t, Op, RowMode::kLeave> pass{Op{f, p.grid}, p.grid, rows.z,
                                                      rows.y,        from,   nullptr};
    launch(pass, pass.blocks(p.batch), pass.shared_bytes());
  }

  const RichardsonLucyParams<real_t>& p;
  const LoopMemory<real_t>& m;
  real_t* const values;
  const Launch& launch;
};

// One step of a loop whose convolutions are the caller's. `values`: none for the loop's
// own.
template <class real_t, class Launch>
void richardson_lucy_step(const RichardsonLucyParams<real_t>& p, LoopStep step, int64_t i,
                          real_t* values, void* workspace, const Launch& launch) {
  const LoopMemory<real_t> m(p, workspace);
  real_t* const given = values == nullptr ? m.values : values;
  LoopSteps<real_t, Launch>(p, m, given, launch).run(step, i);
}

// A loop that keeps its spectra as `Stored`; its steps in space are another's, so that
// they are compiled once: step(LoopStep, i).
template <class Stored, class real_t, class Step, class Launch>
class PencilLoop {
 public:
  PencilLoop(const RichardsonLucyParams<real_t>& p, const Tables& tables, void* workspace,
             const Step& step, const Launch& launch)
      : p(p),
        l(p.grid, tables),
        m(p, workspace),
        passes(l, p.batch, static_cast<Stored*>(m.spectrum), launch, p.floor),
        seen(reach(p.image.window, p.grid)),
        otf(reinterpret_cast<const Pair<real_t>*>(p.otf)),
        otf_back(p.otf_back ? reinterpret_cast<const Pair<real_t>*>(p.otf_back) : otf),
        step(step),
        launch(launch) {}

  void run() const {
    step(LoopStep::kLoad, 0);
    if (p.weighted) {
      step(LoopStep::kObserve, 0);
      enter(m.values, seen, Quantity::kRatio);
      correlate();
      leave();
      step(LoopStep::kWeigh, 0);
    }
    if (accelerated(p)) step(LoopStep::kStart, 0);
    enter(accelerated(p) ? m.values : m.estimate, p.grid, Quantity::kLight);
    for (int64_t i = 0; i < p.n_iters; ++i) {
      passes.convolve(otf, p.kernel, false, p.grid, seen);
      compare(i);
      correlate();
      update(i, i == p.n_iters - 1);
    }
    step(LoopStep::kStore, 0);
  }

 private:
  void correlate() const { passes.convolve(otf_back, p.kernel, true, seen, p.grid); }

  void compare(int64_t i) const {
    double* const partial = p.divergence ? m.partial : nullptr;
    passes.template rows<RowMode::kTurn>(RatioOp<real_t>(p), seen, partial);
    if (partial == nullptr) return;
    const int64_t groups = passes.row_groups(seen);
    add_partials(p, partial, groups, p.divergence + i, p.n_iters, launch);
  }

  void update(int64_t i, bool last) const {
    if (!updates_in_space(p)) {
      const UpdateOp<real_t> op{m.arrays(p, i), momentum_step(p, i),
                                momentum_step(p, i + 1)};
      return passes.template rows<RowMode::kTurn>(op, p.grid, nullptr, last);
    }
    leave();
    step(LoopStep::kUpdate, i);
    if (!last) enter(m.values, p.grid, Quantity::kLight);
  }

  void enter(const real_t* from, const Extents& reached, Quantity gives) const {
    passes.template rows<RowMode::kEnter>(
        FieldSource<real_t>{whole(from), p.grid, 0, gives}, reached);
  }
  void leave() const {
    passes.template rows<RowMode::kLeave>(FieldSink<real_t>{whole(m.values), p.grid},
                                          p.grid);
  }
  template <class T>
  Field<T> whole(T* data) const {
    const Extents& n = p.grid;
    return {data, {n.y * n.x, n.x, 1}, n.count(), {{0, 0, 0}, n}};
  }

  const RichardsonLucyParams<real_t>& p;
  const Layout<real_t> l;
  const LoopMemory<real_t> m;
  const Passes<real_t, Launch, Stored> passes;
  const Extents seen;
  const Pair<real_t>*const otf, *const otf_back;
  const Step& step;
  const Launch& launch;
};

template <class Stored, class real_t, class Step, class Launch>
void richardson_lucy(const RichardsonLucyParams<real_t>& p, const Tables& tables,
                     void* workspace, const Step& step, const Launch& launch) {
  PencilLoop<Stored, real_t, Step, Launch>(p, tables, workspace, step, launch).run();
}

}  // namespace otfuse::cuda
