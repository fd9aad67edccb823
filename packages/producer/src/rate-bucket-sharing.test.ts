import { seededRandom } from '@shardwise/core/testing'
import { expect, test } from 'vitest'
import { RateBucket } from './rate-bucket.ts'

const MIB = 2 ** 20

/** A producer that always has more than its lane may send: aggregates one after the other, or plain records side by side. */
interface Sender {
  readonly kind: 'aggregates' | 'plain'
  readonly bytes: number
  readonly roundTripMs: number
  readonly startMs: number
}

interface Sharing {
  readonly throttledShare: number
  /** Jain's index of the senders' shares: 1 if all are equal, 1/n if one has everything. */
  readonly fairness: number
  readonly utilization: number
}

/** One shard as the service limits it, and its senders, in virtual time: the first part to warm up, the second counts. */
function share(senders: readonly Sender[], warmUpMs: number, countedMs: number, seed: number): Sharing {
  const random = seededRandom(seed)
  const events: { readonly atMs: number; readonly run: () => void }[] = []
  const accepted = senders.map(() => 0)
  const saved = { bytes: MIB, records: 1_000, atMs: 0 }
  let nowMs = 0
  let answered = 0
  let throttled = 0
  const at = (atMs: number, run: () => void): void => {
    events.push({ atMs, run })
  }
  const admits = (bytes: number): boolean => {
    const elapsedMs = nowMs - saved.atMs
    saved.atMs = nowMs
    saved.bytes = Math.min(MIB, saved.bytes + (elapsedMs / 1_000) * MIB)
    saved.records = Math.min(1_000, saved.records + elapsedMs)
    if (saved.bytes <= 0 || saved.records < 1) return false
    saved.bytes -= bytes
    saved.records -= 1
    return true
  }

  for (const [index, { kind, bytes, roundTripMs, startMs }] of senders.entries()) {
    let bucket: RateBucket
    let pausedUntilMs = 0
    let isAwaiting = false
    let wakesAtMs = Number.POSITIVE_INFINITY
    let failures = 0
    const halfwayMs = (): number => roundTripMs * (0.4 + 0.2 * random())
    const wake = (atMs: number): void => {
      if (atMs >= wakesAtMs) return
      wakesAtMs = atMs
      at(atMs, () => {
        if (wakesAtMs !== atMs) return
        wakesAtMs = Number.POSITIVE_INFINITY
        pump()
      })
    }
    const pump = (): void => {
      if (kind === 'aggregates' && isAwaiting) return
      const most = kind === 'aggregates' ? 1 : 500
      let count = 0
      for (; count < most; count++) {
        const waitMs = Math.max(pausedUntilMs - nowMs, bucket.waitMs(nowMs))
        if (waitMs > 0) {
          wake(nowMs + waitMs)
          break
        }
        bucket.take(bytes, nowMs)
      }
      if (count === 0) return
      const sentAtMs = nowMs
      isAwaiting = true
      at(nowMs + halfwayMs(), () => {
        let refused = 0
        for (let record = 0; record < count; record++) if (!admits(bytes)) refused++
        if (nowMs > warmUpMs) {
          answered += count
          throttled += refused
          accepted[index]! += (count - refused) * bytes
        }
        at(nowMs + halfwayMs(), () => {
          isAwaiting = false
          failures = refused > 0 ? failures + 1 : 0
          if (refused > 0) {
            bucket.throttled(sentAtMs, nowMs)
            pausedUntilMs = nowMs + random() * Math.min(2_000, 50 * 2 ** (failures - 1))
          }
          pump()
        })
      })
    }
    at(startMs, () => {
      bucket = new RateBucket(150, nowMs)
      pump()
    })
  }

  while (nowMs < warmUpMs + countedMs) {
    let next = 0
    for (let other = 1; other < events.length; other++) if (events[other]!.atMs < events[next]!.atMs) next = other
    const [event] = events.splice(next, 1)
    nowMs = event!.atMs
    event!.run()
  }
  const sum = accepted.reduce((a, b) => a + b, 0)
  return {
    throttledShare: throttled / answered,
    fairness: sum ** 2 / (accepted.length * accepted.reduce((squares, each) => squares + each ** 2, 0)),
    utilization: sum / MIB / (countedMs / 1_000),
  }
}

function sendersOf(count: number, differing: (index: number) => Partial<Sender> = () => ({})): Sender[] {
  return Array.from({ length: count }, (_, index) => ({
    kind: 'aggregates',
    bytes: 51_200,
    roundTripMs: 20,
    startMs: index * 7,
    ...differing(index),
  }))
}

const MINUTE = 60_000
const SEEDS = [1, 2, 3, 4]

test.each([
  ['2 producers', 30, 0.9, sendersOf(2)],
  ['10 producers', 30, 0.9, sendersOf(10)],
  ['50 producers', 30, 0.9, sendersOf(50)],
  [
    '10 producers near and far',
    30,
    0.8,
    sendersOf(10, (index) => ({ roundTripMs: [5, 20, 50, 100, 250][index % 5]! })),
  ],
  [
    '10 producers, one of them a minute late',
    30,
    0.9,
    sendersOf(10, (index) => (index === 9 ? { startMs: MINUTE } : {})),
  ],
  [
    '10 producers, 5 of them of plain records',
    5,
    0.9,
    sendersOf(10, (index) => (index % 2 === 0 ? {} : { kind: 'plain', bytes: 2_048 })),
  ],
  ['10 producers of plain records', 2, 0.9, sendersOf(10, () => ({ kind: 'plain', bytes: 1_100 }))],
])('%s share a shard fairly and are hardly throttled', (_, minutes, fairness, senders) => {
  const sharings = SEEDS.map((seed) => share(senders, minutes * MINUTE, 2 * minutes * MINUTE, seed))
  const mean = (of: (sharing: Sharing) => number): number => sharings.reduce((sum, each) => sum + of(each), 0) / 4
  expect(mean((sharing) => sharing.throttledShare)).toBeLessThan(0.02)
  expect(mean((sharing) => sharing.fairness)).toBeGreaterThan(fairness)
  for (const { utilization } of sharings) expect(utilization).toBeGreaterThan(0.8)
})
