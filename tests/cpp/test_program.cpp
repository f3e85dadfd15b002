// A failure right behind another check: no thread may take it for the earlier call's and leave.
// With more threads than cores some wake up late from the barrier between the two.
#include <cstdio>

#include "../../csrc/program.h"

using namespace evengrad;

namespace {

void passes(const int&, const Step&, const Team&) {}
void fails(const int&, const Step& step, const Team& team) {
  if (team.rank == 0) fail(step.control, Failure::kGradient, 7);
  team.wait();
}

}  // namespace

int main() {
  set_num_threads(8);
  Flow flow;
  flow.checks = true;
  flow.work = 1e9;  // enough for a team
  Step step{};
  step.rows = step.iteration = 1;
  for (int i = 0; i < 300; ++i) {
    Program program(1);
    program.record(erase<int, passes>(), 0, flow);
    program.record(erase<int, fails>(), 0, flow);
    if (program.run(step, {1, 1, 1, nullptr}) == 0 && program.control().where == 7) continue;
    std::printf("the failure was lost\n");
    return 1;
  }
  return 0;
}
