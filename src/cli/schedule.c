/* Times are counted in gaps from the start, so that rounding errors do not add up. */
#include "cli/schedule.h"

#include "base/clock.h"

void schedule_init(struct schedule *schedule, int64_t start_ns, double rate_per_s,
                   bool is_poisson, uint64_t seed)
{
    *schedule = (struct schedule){.next_ns = start_ns,
                                  .start_ns = start_ns,
                                  .gap_ns = (double)CLOCK_S / rate_per_s,
                                  .is_poisson = is_poisson,
                                  .random = {seed}};
    if (is_poisson)
        schedule_step(schedule);
}

void schedule_step(struct schedule *schedule)
{
    schedule->passed += schedule->is_poisson ? random_exponential(&schedule->random) : 1;
    schedule->next_ns =
        schedule->start_ns + (int64_t)(schedule->passed * schedule->gap_ns);
}
