import { expect, test } from 'vitest'
import { LargeFleet, type Requests } from './large-fleet.ts'

/** Half a minute at rest of a fleet with ten shards a worker, which came to rest in few rounds whatever happened before. */
async function atRest(workers: number): Promise<Requests> {
  const fleet = new LargeFleet(10 * workers)
  fleet.start(workers / 2)
  expect((await fleet.settle(60)).rounds).toBeLessThanOrEqual(3)
  fleet.start(workers / 2)
  expect((await fleet.settle(60)).rounds).toBeLessThanOrEqual(3)
  fleet.kill(workers / 10, { withLeader: false })
  expect((await fleet.settle(60)).rounds).toBeLessThanOrEqual(3)
  fleet.kill(1, { withLeader: true })
  expect((await fleet.settle(60)).rounds).toBeLessThanOrEqual(3)
  return await fleet.requestsIn(30)
}

test('a fleet is even within three rounds, and what it asks of the table grows with it and no faster', async () => {
  const small = await atRest(10)
  const large = await atRest(20)
  for (const kind of ['writes', 'reads', 'queries'] as const) {
    expect(large[kind] / small[kind]).toBeGreaterThan(1.7)
    expect(large[kind] / small[kind]).toBeLessThan(2.4)
  }
})
