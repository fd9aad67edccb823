/** The process that {@link explore} starts: runs the seeds it is sent. */
import type { SeedResult } from './explore.ts'
import { planOf } from './plan.ts'
import { World } from './world.ts'

process.on('message', (seed: number) => void run(seed))
process.send?.('ready')

async function run(seed: number): Promise<void> {
  const plan = planOf(seed)
  const { violation, digest: _digest, trace: _trace, ...figures } = await new World(plan).run()
  const result: SeedResult = {
    seed,
    ...figures,
    faults: plan.faults.length,
    violation: violation && { invariant: violation.invariant, message: violation.message },
  }
  process.send?.(result)
}
