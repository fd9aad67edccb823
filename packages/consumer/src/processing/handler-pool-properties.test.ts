import { ManualClock, seededRandom, settle } from '@shardwise/core/testing'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { POOL_OPTIONS, shardOf } from '../../test/pool-stage.ts'
import type { ConsumerRecord } from './consumer-record.ts'
import { handlerOf } from './handler.ts'
import { HandlerPool } from './handler-pool.ts'

/** What the handler does with a record: fails so often first, then takes so long. -1: synchronous. */
interface Fate {
  readonly key: string
  readonly failures: number
  readonly ms: number
  /** What fails always is asked for more than `maxAttempts` times. */
  readonly hopeless: boolean
}

const fate: fc.Arbitrary<Fate> = fc.record({
  key: fc.constantFrom('a', 'b', 'c', ''),
  failures: fc.oneof({ weight: 3, arbitrary: fc.constant(0) }, fc.nat(3)),
  ms: fc.constantFrom(-1, 0, 1, 50, 400, 3_000),
  hopeless: fc.oneof({ weight: 6, arbitrary: fc.constant(false) }, fc.constant(true)),
})

const plans = fc.record({
  shards: fc.array(fc.array(fate, { maxLength: 12 }), { minLength: 1, maxLength: 3 }),
  concurrency: fc.integer({ min: 1, max: 5 }),
  ordering: fc.constantFrom('key', 'shard', 'none'),
  batch: fc.option(fc.record({ maxRecords: fc.integer({ min: 1, max: 6 }), maxWaitMs: fc.nat(20) }), {
    nil: undefined,
  }),
  failurePolicy: fc.constantFrom('skip', 'deadLetter'),
  letterFailures: fc.nat(3),
  handlerTimeoutMs: fc.option(fc.constant(1_000), { nil: undefined }),
  seed: fc.nat(1e6),
} as const)

test('whatever handlers do, each record is finished, skipped or dead-lettered, in order per key, within the places, and no checkpoint is ahead of that', async () => {
  await fc.assert(
    fc.asyncProperty(plans, async (plan) => {
      const clock = new ManualClock()
      const fates = new Map<string, Fate>()
      const keysOf = new Map<string, string[]>()
      const running = new Set<string>()
      const done = new Map<string, 'handled' | 'skipped' | 'lettered'>()
      const firstCalls: string[] = []
      const calls = new Map<string, number>()
      const letters = new Map<string, number>()
      let busy = 0
      // What the handler throws goes to the pool.
      const wrong: string[] = []

      const idOf = (record: ConsumerRecord): string => `${record.shardId}/${record.sequenceNumber}`
      const laneOf = (record: ConsumerRecord): string | undefined => {
        if (plan.ordering === 'shard') return record.shardId
        if (plan.ordering === 'none' || record.partitionKey === '') return undefined
        return `${record.shardId}/${record.partitionKey}`
      }
      const outcome = (records: readonly ConsumerRecord[]): { readonly fails: boolean; readonly ms: number } => {
        const results = records.map((record) => {
          const id = idOf(record)
          const { hopeless, failures, ms } = fates.get(id)!
          return { fails: hopeless || calls.get(id)! <= failures, ms }
        })
        return { fails: results.some(({ fails }) => fails), ms: Math.max(...results.map(({ ms }) => ms)) }
      }
      const call = (records: readonly ConsumerRecord[]): unknown => {
        // A lane's records that are called for at once are one work.
        const lanes = new Set(records.map(laneOf).filter((lane) => lane !== undefined))
        for (const lane of lanes) if (running.has(lane)) wrong.push(`two works of ${lane} at once`)
        for (const record of records) {
          const id = idOf(record)
          if (done.has(id)) wrong.push(`${id} after it was done`)
          if (!calls.has(id)) firstCalls.push(id)
          calls.set(id, (calls.get(id) ?? 0) + 1)
        }
        const { fails, ms } = outcome(records)
        const end = (): void => {
          if (fails) throw new Error('no')
          for (const record of records) done.set(idOf(record), 'handled')
        }
        if (ms === -1) return end()
        for (const lane of lanes) running.add(lane)
        busy++
        if (busy > plan.concurrency) wrong.push(`${busy} at once`)
        // The clock knows nothing of a turn of the event loop: time could go on in it.
        return (ms === 0 ? Promise.resolve() : clock.sleep(ms)).then(() => {
          for (const lane of lanes) running.delete(lane)
          busy--
          // What took too long has failed, whatever it says.
          if (plan.handlerTimeoutMs === undefined || ms < plan.handlerTimeoutMs) end()
        })
      }
      const eachBatch = plan.batch && { eachBatch: call }
      const handler = handlerOf(eachBatch ?? { eachRecord: (record) => call([record]) }, undefined)
      const pool = new HandlerPool(handler, {
        ...POOL_OPTIONS,
        ...plan,
        clock,
        random: seededRandom(plan.seed),
        maxAttempts: 3,
        // Longer than any handler of the plans takes: none is left alone.
        closeTimeout: 60_000,
        deadLetter: ({ origin }) => {
          const id = `${origin.shardId}/${origin.sequenceNumber}`
          letters.set(id, (letters.get(id) ?? 0) + 1)
          if (letters.get(id)! <= plan.letterFailures) throw new Error('no room')
          done.set(id, 'lettered')
        },
      })
      const { ordering } = plan
      const batch = plan.batch && { ...plan.batch, maxBytes: 2 ** 20 }
      const shards = plan.shards.map((records, index) => {
        const shardId = `s${index}`
        const shard = shardOf(
          shardId,
          records.map(({ key }) => key),
          { ordering, ...(batch && { batch }), now: () => clock.monotonicMs() },
        )
        for (const [at, each] of records.entries()) {
          const id = `${shardId}/${100 + at}`
          fates.set(id, each)
          const lane = ordering === 'shard' ? shardId : each.key && `${shardId}/${each.key}`
          keysOf.set(lane, [...(keysOf.get(lane) ?? []), id])
        }
        return shard
      })
      const look = (): void => {
        for (const { events, queue } of shards) {
          for (const event of events) {
            if (event.type === 'recordSkipped') done.set(`${event.shardId}/${event.sequenceNumber}`, 'skipped')
          }
          const { shardId } = { shardId: `s${shards.findIndex((shard) => shard.queue === queue)}` }
          const upTo = Number(queue.checkpoint?.sequenceNumber ?? 99)
          for (let at = 100; at <= upTo; at++) {
            expect(done.has(`${shardId}/${at}`), `checkpoint over ${shardId}/${at}`).toBe(true)
          }
        }
      }
      for (const shard of shards) pool.add(shard)
      await settle()
      look()
      for (let ms = 1; shards.some(({ queue }) => !queue.empty); ms *= 2) {
        if (ms > 1e7) throw new Error('it never ends')
        for (let step = 0; step < 4; step++) {
          await clock.advance(ms)
          look()
        }
      }
      expect(wrong).toEqual([])
      for (const [id, { hopeless, failures, ms }] of fates) {
        const tooSlow = plan.handlerTimeoutMs !== undefined && ms > plan.handlerTimeoutMs
        // In a batch it may have been called more often than for its own attempts.
        const isGivenUp = hopeless || tooSlow || (plan.batch === undefined && failures >= 3)
        const expected = isGivenUp ? (plan.failurePolicy === 'skip' ? 'skipped' : 'lettered') : 'handled'
        if (plan.batch === undefined || isGivenUp) expect([id, done.get(id)]).toEqual([id, expected])
        else expect(done.has(id)).toBe(true)
        if (done.get(id) === 'lettered') expect(letters.get(id)).toBe(plan.letterFailures + 1)
      }
      for (const [lane, ids] of keysOf) {
        if (ordering === 'none' || lane === '') continue
        expect(firstCalls.filter((id) => ids.includes(id))).toEqual(ids)
      }
      expect(shards.flatMap(({ stops }) => stops)).toEqual([])
      for (const shard of shards) pool.abandon(shard)
      expect(clock.sleeping).toBe(0)
    }),
    { numRuns: 150 },
  )
})
