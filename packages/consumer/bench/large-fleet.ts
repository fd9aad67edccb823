/**
 * How a fleet of many workers comes to rest, and what it asks of its table: the real coordination over a table in memory, in
 * virtual time. Only the leader's decision is timed on a real clock.
 *
 *   node --conditions=shardwise-source packages/consumer/bench/large-fleet.ts [shards workers]...
 */
import { LargeFleet, type Requests, type Settling } from '../test/large-fleet.ts'

const SECONDS = 60

const given = process.argv.slice(2).map(Number)
const sizes =
  given.length > 0
    ? Array.from({ length: given.length / 2 }, (_, index) => [given[2 * index]!, given[2 * index + 1]!] as const)
    : ([
        [1_000, 100],
        [5_000, 500],
        [10_000, 1_000],
      ] as const)

function say(text: string): void {
  process.stdout.write(`${text}\n`)
}

function sum({ writes, reads, queries, pages }: Requests): number {
  return writes + reads + queries + pages
}

function tell(what: string, { seconds, rounds, decisionMs, requests }: Settling, shards: number): void {
  say(
    `  ${what}: even after ${seconds.toFixed(1)} s and ${rounds} rounds with moves, longest decision ${decisionMs.toFixed(0)} ms, ` +
      `${sum(requests)} requests (${(sum(requests) / shards).toFixed(1)} a lease)`,
  )
}

for (const [shards, workers] of sizes) {
  const startedAt = performance.now()
  say(`${shards} shards, ${workers} workers`)
  const fleet = new LargeFleet(shards)
  fleet.start(workers / 2)
  tell('half of the workers start on an empty table', await fleet.settle(300), shards)
  fleet.start(workers / 2)
  tell('the other half joins', await fleet.settle(300), shards)
  const { writes, reads, queries, pages } = await fleet.requestsIn(SECONDS)
  say(
    `  at rest, in ${SECONDS} s: ${writes} writes (${(writes / shards).toFixed(2)} a lease), ${reads} reads, ` +
      `${queries} queries, ${pages} pages of scans`,
  )
  fleet.kill(workers / 10, { withLeader: false })
  tell('a tenth of the workers is killed', await fleet.settle(300), shards)
  fleet.kill(1, { withLeader: true })
  tell('the leader is killed', await fleet.settle(300), shards)
  say(`  (${((performance.now() - startedAt) / 1_000).toFixed(0)} s of this machine)`)
}
process.exit(0)
