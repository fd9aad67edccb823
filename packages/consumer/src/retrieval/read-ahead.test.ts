import { ManualClock, seededRandom, settle } from '@shardwise/core/testing'
import fc from 'fast-check'
import { beforeEach, describe, expect, test } from 'vitest'
import { ReadAhead, type Reservation, type ShardPart } from './read-ahead.ts'

const MiB = 2 ** 20

let clock: ManualClock
let never: AbortSignal

beforeEach(() => {
  clock = new ManualClock()
  never = new AbortController().signal
})

/** What a reader asked for, and got. */
interface Asked {
  readonly got: () => Reservation | undefined
  readonly failed: () => unknown
}

function ask(part: ShardPart, signal: AbortSignal = never, kind: 'call' | 'event' = 'call'): Asked {
  let got: Reservation | undefined
  let failed: unknown
  part.reserve(signal, kind).then(
    (reservation) => {
      got = reservation
    },
    (error: unknown) => {
      failed = error
    },
  )
  return { got: () => got, failed: () => failed }
}

async function granted(part: ShardPart, kind: 'call' | 'event' = 'call'): Promise<Reservation> {
  const asked = ask(part, never, kind)
  await settle()
  return asked.got()!
}

/** One answer: it is kept from then on. */
async function read(part: ShardPart, bytes: number, kept = bytes, kind?: 'call' | 'event'): Promise<void> {
  const reservation = await granted(part, kind)
  part.holds(kept)
  reservation.done(bytes)
}

describe('one shard', () => {
  test('may be read until all of the memory is full, and further when there is room for what comes next', async () => {
    const part = new ReadAhead({ maxBufferedBytes: 8 * MiB, clock }).join()
    for (let answers = 1; answers <= 8; answers++) await read(part, MiB, answers * MiB)
    const asked = ask(part)
    await settle()
    expect(asked.got()).toBeUndefined()
    part.holds(7 * MiB + 1)
    await settle()
    expect(asked.got()).toBeUndefined()
    part.holds(7 * MiB)
    await settle()
    expect(asked.got()).toBeDefined()
  })

  test('says when its reader has to wait until something is finished', async () => {
    let told = 0
    const part = new ReadAhead({ maxBufferedBytes: 8 * MiB, clock }).join(() => told++)
    await read(part, 8 * MiB)
    expect([part.isStarved, told]).toEqual([false, 0])
    const over = new AbortController()
    ask(part, over.signal)
    await settle()
    expect([part.isStarved, told]).toEqual([true, 1])
    over.abort()
    await settle()
    expect(part.isStarved).toBe(false)
    const asked = ask(part)
    await settle()
    expect([part.isStarved, told]).toEqual([true, 2])
    part.holds(0)
    await settle()
    expect([part.isStarved, asked.got() !== undefined]).toEqual([false, true])
  })

  test('that keeps more than its part is short of memory until it has finished some, though the others leave room', async () => {
    const ahead = new ReadAhead({ maxBufferedBytes: 16 * MiB, clock })
    let told = 0
    const part = ahead.join(() => told++)
    for (let idle = 0; idle < 7; idle++) ahead.join()
    part.holds(3 * MiB)
    const asked = ask(part)
    await settle()
    expect([asked.got(), part.isStarved, told]).toEqual([undefined, true, 1])
    part.holds(0)
    await settle()
    expect([asked.got() !== undefined, part.isStarved]).toEqual([true, false])
  })

  test('that waits for a place among the calls alone is not short of memory', async () => {
    const ahead = new ReadAhead({ maxBufferedBytes: 4 * MiB, clock })
    const parts = Array.from({ length: 3 }, () => ahead.join())
    const asked = parts.map((part) => {
      part.holds(1)
      return ask(part)
    })
    await settle()
    expect(asked.map(({ got }) => got() !== undefined)).toContain(false)
    expect(parts.map(({ isStarved }) => isStarved)).not.toContain(true)
  })

  test('is expected to bring what it brought last, and less and less after smaller answers', async () => {
    const ahead = new ReadAhead({ maxBufferedBytes: 100 * MiB, clock })
    const part = ahead.join()
    const expected = async (bytes: number | undefined): Promise<number> => {
      const reservation = await granted(part)
      const used = ahead.usedBytes
      reservation.done(bytes)
      return used
    }
    expect(await expected(8 * MiB)).toBe(MiB)
    expect(await expected(0)).toBe(8 * MiB)
    expect(await expected(undefined)).toBe(2 * MiB)
    expect(await expected(0)).toBe(2 * MiB)
    for (let answers = 0; answers < 15; answers++) await expected(0)
    expect(await expected(0)).toBe(0)
  })

  test('is expected to bring all that it may, while more of it is left than was answered', async () => {
    const ahead = new ReadAhead({ maxBufferedBytes: 100 * MiB, clock })
    const part = ahead.join()
    const first = await granted(part)
    first.done(1_000, true)
    const second = await granted(part)
    expect([ahead.usedBytes, second.bytes]).toEqual([2 * MiB, 2 * MiB])
    second.done(1_000, false)
    await granted(part)
    expect(ahead.usedBytes).toBe(MiB / 16)
  })

  test('is read however little memory there is, when it has nothing left', async () => {
    const part = new ReadAhead({ maxBufferedBytes: 1, clock }).join()
    await read(part, 10 * MiB)
    const asked = ask(part)
    await settle()
    expect(asked.got()).toBeUndefined()
    part.holds(0)
    await settle()
    expect(asked.got()).toBeDefined()
  })

  test('is to bring no more than two seconds of a shard give, and than there is room for', async () => {
    const part = new ReadAhead({ maxBufferedBytes: 8 * MiB, clock }).join()
    const first = await granted(part)
    expect(first.bytes).toBe(2 * MiB)
    part.holds(7 * MiB - 1)
    first.done(100)
    expect((await granted(part)).bytes).toBe(MiB + 1)
  })
})

test('a reservation is given back once', async () => {
  const ahead = new ReadAhead({ maxBufferedBytes: 8 * MiB, clock })
  const part = ahead.join()
  const reservation = await granted(part)
  expect([ahead.usedBytes, ahead.callsInProgress]).toEqual([MiB, 1])
  reservation.done(0)
  reservation.done(0)
  expect([ahead.usedBytes, ahead.callsInProgress]).toEqual([0, 0])
})

test('calls in progress are as many as the memory has 2 MiB, up to 64; events take no place', async () => {
  const inProgress = async (maxBufferedBytes: number, kind: 'call' | 'event'): Promise<number> => {
    const ahead = new ReadAhead({ maxBufferedBytes, clock })
    const parts = Array.from({ length: 100 }, () => ahead.join())
    for (const part of parts) await read(part, 0, 0, kind)
    const asked = parts.map((part) => ask(part, never, kind))
    await settle()
    return asked.filter(({ got }) => got() !== undefined).length
  }
  expect(await inProgress(MiB, 'call')).toBe(2)
  expect(await inProgress(32 * MiB, 'call')).toBe(16)
  expect(await inProgress(2 ** 40, 'call')).toBe(64)
  expect(await inProgress(MiB, 'event')).toBe(100)
})

test('an event without records makes a shard expect nothing more: the next may be long in coming', async () => {
  const ahead = new ReadAhead({ maxBufferedBytes: 4 * MiB, clock })
  const part = ahead.join()
  const first = await granted(part, 'event')
  expect(ahead.usedBytes).toBe(MiB)
  first.done(0)
  const second = await granted(part, 'event')
  expect(ahead.usedBytes).toBe(0)
  second.done(4_000)
  await granted(part, 'event')
  expect(ahead.usedBytes).toBe(4_000)
})

test('an aborted wait ends with the reason, and is passed over', async () => {
  const ahead = new ReadAhead({ maxBufferedBytes: 2 * MiB, clock })
  const [first, second, third] = [ahead.join(), ahead.join(), ahead.join()]
  const reservation = await granted(first)
  const stop = new AbortController()
  const [aborted, waiting] = [ask(second, stop.signal), ask(third)]
  await settle()
  stop.abort('enough')
  await settle()
  expect(aborted.failed()).toBe('enough')
  reservation.done(0)
  await settle()
  expect(waiting.got()).toBeDefined()
  expect(ask(first, AbortSignal.abort('before')).got()).toBeUndefined()
})

test('a call that is let go in the moment when it is aborted leaves nothing behind', async () => {
  const ahead = new ReadAhead({ maxBufferedBytes: MiB, clock })
  const [first, second] = [ahead.join(), ahead.join()]
  const reservation = await granted(first)
  const stop = new AbortController()
  const asked = ask(second, stop.signal)
  await settle()
  stop.abort('enough')
  reservation.done(0)
  await settle()
  expect(asked.failed()).toBe('enough')
  expect([ahead.usedBytes, ahead.callsInProgress]).toEqual([0, 0])
})

test('a shard that is over gives everything back, even a reservation that was lost', async () => {
  const ahead = new ReadAhead({ maxBufferedBytes: 2 * MiB, clock })
  const [first, second] = [ahead.join(), ahead.join()]
  await granted(first)
  first.holds(5 * MiB)
  const asked = ask(second)
  await settle()
  expect(asked.got()).toBeUndefined()
  first.close()
  await settle()
  expect(asked.got()).toBeDefined()
  first.holds(3 * MiB)
  asked.got()?.done(0)
  expect([ahead.usedBytes, ahead.callsInProgress]).toEqual([0, 0])
})

describe('several shards', () => {
  test('are let go in the order of asking', async () => {
    const ahead = new ReadAhead({ maxBufferedBytes: 2 * MiB, clock })
    const parts = Array.from({ length: 5 }, () => ahead.join())
    const order: number[] = []
    const reading = parts.map(async (part, index) => {
      const reservation = await part.reserve(never)
      order.push(index)
      await clock.sleep(10)
      reservation.done(MiB)
    })
    await clock.advance(100)
    await Promise.all(reading)
    expect(order).toEqual([0, 1, 2, 3, 4])
  })

  test('one that has its part full does not hold up those behind it', async () => {
    const ahead = new ReadAhead({ maxBufferedBytes: 16 * MiB, clock })
    const [full, other] = [ahead.join(), ahead.join()]
    for (let answers = 1; answers <= 8; answers++) await read(full, MiB, answers * MiB)
    const [waiting, going] = [ask(full), ask(other)]
    await settle()
    expect(waiting.got()).toBeUndefined()
    expect(going.got()).toBeDefined()
  })

  test('one with room of its own goes at once, whoever waits for the common half', async () => {
    const ahead = new ReadAhead({ maxBufferedBytes: 8 * MiB, clock })
    const [large, first, second, small] = [ahead.join(), ahead.join(), ahead.join(), ahead.join()]
    await read(large, 4 * MiB, 0)
    for (const part of [first, second]) {
      await read(part, MiB)
      await read(part, MiB, 2 * MiB)
    }
    const [waiting, going] = [ask(large), ask(small)]
    await settle()
    expect(waiting.got()).toBeUndefined()
    expect(going.got()).toBeDefined()
    second.holds(MiB)
    await settle()
    expect(waiting.got()).toBeDefined()
  })

  test('one that holds a record for long is read on with smaller answers', async () => {
    const ahead = new ReadAhead({ maxBufferedBytes: 8 * MiB, clock })
    const parts = Array.from({ length: 16 }, () => ahead.join())
    await read(parts[0]!, 3 * MiB, 1_000)
    const reservation = await granted(parts[0]!)
    expect(reservation.bytes).toBe(MiB / 2 - 1_000)
    parts[0]!.holds(MiB / 2)
    reservation.done(MiB / 2)
    const asked = ask(parts[0]!)
    await settle()
    expect(asked.got()).toBeUndefined()
    parts[0]!.holds(MiB / 4)
    await settle()
    expect(asked.got()?.bytes).toBe(MiB / 4)
  })

  test('share anew when one comes or goes', async () => {
    const ahead = new ReadAhead({ maxBufferedBytes: 16 * MiB, clock })
    const first = ahead.join()
    const second = ahead.join()
    for (let answers = 1; answers <= 8; answers++) await read(first, MiB, answers * MiB)
    const asked = ask(first)
    await settle()
    expect(asked.got()).toBeUndefined()
    second.close()
    await settle()
    expect(asked.got()).toBeDefined()
  })

  test('that have larger answers than their part wait for the common half, one after the other', async () => {
    const ahead = new ReadAhead({ maxBufferedBytes: 4 * MiB, clock })
    const parts = Array.from({ length: 100 }, () => ahead.join())
    const asked = parts.map((part) => ask(part))
    const going = (): number[] => asked.flatMap(({ got }, index) => (got() === undefined ? [] : [index]))
    await settle()
    expect(going()).toEqual([0, 1])
    parts[0]!.holds(MiB)
    asked[0]!.got()!.done(MiB)
    await settle()
    expect(going()).toEqual([0, 1])
    parts[0]!.holds(0)
    await settle()
    expect(going()).toEqual([0, 1, 2])
  })

  test('that are stuck, be it with all of the common half, do not stop the others', async () => {
    const ahead = new ReadAhead({ maxBufferedBytes: 8 * MiB, clock })
    const stuck = Array.from({ length: 4 }, () => ahead.join())
    for (const part of stuck) await read(part, 2 * MiB)
    for (const part of stuck) ask(part)
    const others = Array.from({ length: 12 }, () => ahead.join())
    for (let rounds = 0; rounds < 5; rounds++) {
      const asked = others.map((part) => ask(part))
      await clock.advance(1_000)
      for (const [index, { got }] of asked.entries()) {
        await settle()
        expect(got()?.bytes).toBe((8 * MiB) / 2 / 16)
        others[index]!.holds(got()!.bytes)
        got()!.done(got()!.bytes)
        others[index]!.holds(0)
      }
    }
  })

  test('that are all stuck end at one full answer for each call beyond the memory, be they ever so many', async () => {
    const ahead = new ReadAhead({ maxBufferedBytes: 8 * MiB, clock })
    const parts = Array.from({ length: 50 }, () => ahead.join())
    let kept = 0
    const reading = parts.map(async (part) => {
      const reservation = await part.reserve(never)
      await clock.sleep(10)
      kept += 10 * MiB
      part.holds(10 * MiB)
      reservation.done(10 * MiB)
    })
    await clock.advance(60_000)
    expect(reading).toHaveLength(50)
    expect(kept).toBe(40 * MiB)
    for (const part of parts) part.close()
  })

  test('go on as before when those that were stuck have finished', async () => {
    const ahead = new ReadAhead({ maxBufferedBytes: 16 * MiB, clock })
    const [slow, stuck] = [ahead.join(), ahead.join()]
    await read(slow, 3 * MiB, 3 * MiB)
    await read(stuck, 6 * MiB, 12 * MiB)
    const asked = ask(slow)
    await clock.advance(5_000)
    expect(asked.got()).toBeUndefined()
    stuck.holds(0)
    await settle()
    expect(asked.got()?.bytes).toBe(2 * MiB)
  })

  test('that are slow hold up nobody who has nothing: events go over the memory by one full answer at the most', async () => {
    const ahead = new ReadAhead({ maxBufferedBytes: 8 * MiB, clock })
    const parts = Array.from({ length: 40 }, () => ahead.join())
    let kept = 0
    let most = 0
    for (const part of parts) {
      void part.reserve(never, 'event').then(async (reservation) => {
        kept += MiB
        most = Math.max(most, kept)
        part.holds(MiB)
        reservation.done(MiB)
        for (let left = MiB; left > 0; ) {
          await clock.sleep(900)
          left -= MiB / 8
          kept -= MiB / 8
          part.holds(left)
        }
      })
    }
    await clock.advance(100_000)
    expect(kept).toBe(0)
    expect(most).toBeGreaterThan(8 * MiB)
    expect(most).toBeLessThanOrEqual(18 * MiB)
  })

  for (const kind of ['call', 'event'] as const) {
    test(`that come when one slow shard has all the memory get their part of it, by ${kind}`, async () => {
      const ahead = new ReadAhead({ maxBufferedBytes: 32 * MiB, clock })
      const fat = ahead.join()
      let kept = 30 * MiB
      fat.holds(kept)
      const others = Array.from({ length: 9 }, () => ahead.join())
      const reads = others.map(() => 0)
      for (const [index, part] of others.entries()) {
        const readOn = async (): Promise<void> => {
          for (;;) {
            const reservation = await part.reserve(never, kind)
            reads[index]!++
            reservation.done(1_000)
            await clock.sleep(100)
          }
        }
        void readOn()
      }
      for (let half = 0; half < 40; half++) {
        await clock.advance(500)
        kept -= 300
        fat.holds(kept)
      }
      expect(Math.min(...reads)).toBeGreaterThan(10)
    })
  }

  test('that are all stuck end at one full answer beyond the memory, if events come', async () => {
    const ahead = new ReadAhead({ maxBufferedBytes: 8 * MiB, clock })
    let kept = 0
    for (let shards = 0; shards < 50; shards++) {
      const part = ahead.join()
      void part.reserve(never, 'event').then((reservation) => {
        kept += MiB
        part.holds(MiB)
        reservation.done(MiB)
      })
    }
    await clock.advance(60_000)
    expect(kept).toBe(18 * MiB)
  })

  test('leave no timer behind', async () => {
    const ahead = new ReadAhead({ maxBufferedBytes: 2 * MiB, clock })
    const parts = Array.from({ length: 20 }, () => ahead.join())
    for (const part of parts) ask(part)
    await settle()
    expect(clock.sleeping).toBe(1)
    for (const part of parts) part.close()
    await settle()
    expect(clock.sleeping).toBe(0)
  })
})

/** Shards that are read and handled for a while, at a whim. Some honest ones get stuck; of others any answer may be full. */
async function run(
  seed: number,
  { shards, maxBytes, isHonest }: { shards: number; maxBytes: number; isHonest: boolean },
) {
  const random = seededRandom(seed)
  const ahead = new ReadAhead({ maxBufferedBytes: maxBytes, clock })
  const stop = new AbortController()
  const kept = Array.from({ length: shards }, () => 0)
  const reads = Array.from({ length: shards }, () => 0)
  const isStuck = Array.from({ length: shards }, () => isHonest && random() < 0.3)
  let most = 0
  let mostCalls = 0
  const shard = async (index: number): Promise<void> => {
    const part = ahead.join()
    const look = (): void => {
      most = Math.max(
        most,
        kept.reduce((sum, bytes) => sum + bytes, 0),
      )
      mostCalls = Math.max(mostCalls, ahead.callsInProgress)
    }
    const handle = async (): Promise<void> => {
      for (;;) {
        await clock.sleep(1 + 100 * random(), stop.signal)
        if (kept[index] === 0 || (isStuck[index] && reads[index]! > 2)) continue
        kept[index] = Math.max(0, kept[index]! - Math.floor(random() * (isHonest ? 2 : 20) * MiB))
        part.holds(kept[index]!)
      }
    }
    const handling = handle().catch(() => undefined)
    for (;;) {
      const reservation = await part.reserve(stop.signal)
      await clock.sleep(1 + 200 * random(), stop.signal).catch(() => undefined)
      if (stop.signal.aborted) break
      const size = random() < 0.2 ? 0 : Math.floor(random() * reservation.bytes)
      const bytes = isHonest ? Math.min(size, part.expected) : Math.floor(random() * 10 * MiB)
      kept[index]! += bytes
      part.holds(kept[index]!)
      reservation.done(random() < 0.1 ? undefined : Math.max(bytes, isHonest ? size : 0))
      reads[index]!++
      look()
    }
    await handling
  }
  const running = Array.from({ length: shards }, (_, index) => shard(index).catch(() => undefined))
  await clock.advance(20_000)
  stop.abort('over')
  await settle()
  await Promise.allSettled(running)
  return { reads, isStuck, most, mostCalls }
}

describe('whatever happens', () => {
  const sizes = fc.record({
    shards: fc.integer({ min: 1, max: 12 }),
    maxBytes: fc.integer({ min: MiB / 4, max: 24 * MiB }),
  })

  test('answers as expected stay within maxBufferedBytes, and every shard that is not stuck is read on', async () => {
    const property = fc.asyncProperty(fc.nat(), sizes, async (seed, size) => {
      clock = new ManualClock()
      const { reads, isStuck, most } = await run(seed, { ...size, isHonest: true })
      expect(most).toBeLessThanOrEqual(Math.max(size.maxBytes, 2 * MiB))
      for (const [index, count] of reads.entries()) if (!isStuck[index]) expect(count).toBeGreaterThan(5)
    })
    await fc.assert(property, { numRuns: 15 })
  })

  test('answers beyond all expectation go over it by one for each call in progress', async () => {
    const property = fc.asyncProperty(fc.nat(), sizes, async (seed, size) => {
      clock = new ManualClock()
      const { reads, most, mostCalls } = await run(seed, { ...size, isHonest: false })
      const calls = Math.min(64, Math.max(2, Math.round(size.maxBytes / (2 * MiB))))
      expect(mostCalls).toBeLessThanOrEqual(calls)
      expect(most).toBeLessThanOrEqual(size.maxBytes + calls * 10 * MiB)
      for (const count of reads) expect(count).toBeGreaterThan(5)
    })
    await fc.assert(property, { numRuns: 15 })
  })
})

test('a thousand shards cost little', async () => {
  const ahead = new ReadAhead({ maxBufferedBytes: 128 * MiB, clock })
  const parts = Array.from({ length: 1_000 }, () => ahead.join())
  const startedAt = performance.now()
  for (let rounds = 0; rounds < 20; rounds++) {
    await Promise.all(
      parts.map(async (part) => {
        const reservation = await part.reserve(never)
        part.holds(50_000)
        reservation.done(50_000)
        part.holds(0)
      }),
    )
  }
  // 20,000 calls: some 10 µs each on an idle machine, and this one may be busy.
  expect(performance.now() - startedAt).toBeLessThan(4_000)
  expect(ahead.usedBytes).toBe(0)
})
