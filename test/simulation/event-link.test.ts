import { seededRandom } from '@shardwise/core/testing'
import { expect, test } from 'vitest'
import { EventLink, type EventLinkOptions, type EventSource, type LinkFate, type LinkTrouble } from './event-link.ts'
import { type Cut, FAIR, type Weather } from './network.ts'
import { SimulatedProcess } from './process.ts'
import { VirtualTime } from './virtual-time.ts'

const LIFETIME_MS = 60_000

/** Gives out one number after the other, at given times. */
class Numbers implements EventSource<number> {
  readonly sentMs: number[] = []
  readonly #time: VirtualTime
  readonly #dueMs: number[]
  ended = false
  error: { type: string; message: string } | undefined
  closedAtMs: number | undefined
  #listener = (): void => {}

  constructor(time: VirtualTime, dueMs: readonly number[]) {
    this.#time = time
    this.#dueMs = [...dueMs]
  }

  get dueMs(): number {
    return this.ended ? Number.POSITIVE_INFINITY : (this.#dueMs[this.sentMs.length] ?? Number.POSITIVE_INFINITY)
  }

  next(): number | undefined {
    if (this.#time.nowMs < this.dueMs) return undefined
    this.sentMs.push(this.#time.nowMs)
    return this.sentMs.length
  }

  onDue(listener: () => void): void {
    this.#listener = listener
  }

  fail(): void {
    this.error = { type: 'ResourceInUseException', message: 'Another took over.' }
    this.close()
    this.#listener()
  }

  close(): void {
    if (this.ended) return
    this.ended = true
    this.closedAtMs = this.#time.nowMs
  }
}

interface Setup {
  readonly dueMs?: readonly number[]
  readonly seed?: number
  readonly weather?: Weather
  readonly cut?: (nowMs: number) => Cut
  readonly bytes?: number
  /** From one pull to the next. */
  readonly pullEveryMs?: number
  /** Leaves the loop with this event. */
  readonly leaveAt?: number
  readonly atMs?: Record<
    number,
    (is: {
      process: SimulatedProcess
      abort: AbortController
      link: EventLink<number>
      source: Numbers
      iterator: AsyncGenerator<number>
    }) => void
  >
}

interface Came {
  readonly source: Numbers
  readonly link: EventLink<number>
  readonly events: readonly { readonly event: number; readonly atMs: number }[]
  readonly end: string
  readonly endMs: number
  readonly fates: readonly LinkFate[]
}

async function follow({ seed = 1, weather = FAIR, cut = () => 'none', ...setup }: Setup): Promise<Came> {
  const time = new VirtualTime(seededRandom(seed))
  const source = new Numbers(time, setup.dueMs ?? [])
  const process = new SimulatedProcess({
    time,
    random: seededRandom(3),
    name: 'worker#1',
    clockRate: 1,
    wallOffsetMs: 0,
  })
  const abort = new AbortController()
  const fates: LinkFate[] = []
  const options: EventLinkOptions<number> = {
    process,
    service: 'kinesis',
    source,
    bytesOf: () => setup.bytes ?? 10,
    signal: abort.signal,
    lifetimeMs: LIFETIME_MS,
    describe: () => 'numbers',
    note: (fate) => fates.push(fate),
  }
  const network = {
    time,
    random: seededRandom(seed),
    wayMs: 10,
    weather: () => weather,
    cut: () => cut(time.nowMs),
    trace: () => {},
  }
  const link = new EventLink(network, options)
  const iterator = link.events()
  const events: { event: number; atMs: number }[] = []
  let end = 'nothing'
  let endMs = Number.NaN
  const read = async (): Promise<void> => {
    try {
      for await (const event of iterator) {
        events.push({ event, atMs: time.nowMs })
        if (event === setup.leaveAt) break
        if (setup.pullEveryMs !== undefined) await process.sleep(setup.pullEveryMs)
      }
      end = 'the end'
    } catch (error) {
      end = (error as Error).name
    }
    endMs = time.nowMs
  }
  void read()
  for (const [ms, act] of Object.entries(setup.atMs ?? {})) {
    time.at(Number(ms), () => act({ process, abort, link, source, iterator }))
  }
  await time.run(() => time.nowMs > 2 * LIFETIME_MS)
  return { source, link, events, end, endMs, fates }
}

const seeds = Array.from({ length: 40 }, (_, index) => index + 1)
const everySecond = Array.from({ length: 50 }, (_, index) => 1_000 * (index + 1))
const numbersOf = ({ events }: Came): number[] => events.map(({ event }) => event)

test('events come in order, each after its way, and the link ends with its life', async () => {
  const came = await follow({ dueMs: [0, 0, 1, 1, 500] })
  expect(numbersOf(came)).toEqual([1, 2, 3, 4, 5])
  for (const [index, { atMs }] of came.events.entries()) {
    expect(atMs).toBeGreaterThanOrEqual(came.source.sentMs[index]! + 1)
    expect(atMs).toBeLessThan(came.source.sentMs[index]! + 21)
  }
  expect(came.end).toBe('the end')
  expect(came.endMs).toBeGreaterThanOrEqual(LIFETIME_MS)
  expect(came.endMs).toBeLessThan(LIFETIME_MS + 20)
})

test('slow ways don’t change the order', async () => {
  const weather = { ...FAIR, slowMs: 3_000, late: 0.3 }
  for (const seed of seeds) {
    const came = await follow({ seed, weather, dueMs: [0, 1, 2, 3, 4, 5, 6, 7] })
    expect(numbersOf(came)).toEqual([1, 2, 3, 4, 5, 6, 7, 8])
  }
})

test('no more is sent than a window ahead of what is pulled', async () => {
  const came = await follow({ dueMs: Array(50).fill(0), bytes: 2 ** 18, pullEveryMs: 1_000 })
  const aheadAt = came.source.sentMs.map((sentMs, index) => {
    const pulled = came.events.filter(({ atMs }) => atMs < sentMs).length
    return index + 1 - pulled
  })
  expect(Math.max(...aheadAt)).toBe(4)
  expect(came.fates).toEqual(['heldUp', 'ended'])
  expect(numbersOf(came)).toHaveLength(50)
})

test('what comes while the process is paused comes when it goes on, in order', async () => {
  const came = await follow({ dueMs: everySecond, atMs: { 2500: ({ process }) => process.pause(10_000) } })
  expect(numbersOf(came)).toEqual(everySecond.map((_, index) => index + 1))
  expect(came.events.filter(({ atMs }) => atMs === 12_500)).toHaveLength(10)
})

test('nothing comes to a dead process, and the service keeps the subscription, or sees the connection close', async () => {
  const kill = { 2500: ({ process }: { process: SimulatedProcess }) => process.kill() }
  const runs = await Promise.all(seeds.map((seed) => follow({ seed, dueMs: everySecond, atMs: kill })))
  expect(runs.every((came) => came.events.length === 2 && came.end === 'nothing')).toBe(true)
  expect(new Set(runs.map(({ source }) => source.closedAtMs))).toEqual(new Set([3_000, LIFETIME_MS]))
})

test('who only leaves the loop has the subscription go on', async () => {
  const came = await follow({ dueMs: everySecond, leaveAt: 3 })
  expect(numbersOf(came)).toEqual([1, 2, 3])
  expect(came.link.isOpen).toBe(true)
  expect(came.source.closedAtMs).toBe(LIFETIME_MS)
})

test('a return waits for the event that is being waited for, as an async generator does', async () => {
  const came = await follow({ dueMs: everySecond, atMs: { 2500: ({ iterator }) => void iterator.return(undefined) } })
  expect(came.end).toBe('the end')
  expect(came.endMs).toBeGreaterThan(3_000)
  expect(came.endMs).toBeLessThan(3_011)
})

test('an abort ends it at once', async () => {
  const came = await follow({ dueMs: everySecond, atMs: { 2500: ({ abort }) => abort.abort() } })
  expect(came).toMatchObject({ end: 'AbortError', endMs: 2_500 })
  expect(came.link.isOpen).toBe(false)
  expect(came.source.closedAtMs).toBeLessThan(2_511)
})

test('an error of the service comes behind the events, without an HTTP status', async () => {
  const came = await follow({ dueMs: everySecond, atMs: { 2500: ({ source }) => source.fail() } })
  expect(numbersOf(came)).toEqual([1, 2])
  expect(came.end).toBe('ResourceInUseException')
})

test('a break shows as an error; an early end as an end; a stall not at all', async () => {
  const strike = (trouble: LinkTrouble) => ({ 2500: ({ link }: { link: EventLink<number> }) => link.strike(trouble) })
  const broken = await follow({ dueMs: everySecond, atMs: strike('break') })
  expect(broken.end).toBe('Error')
  expect(broken.endMs).toBeLessThan(2_511)
  const ended = await follow({ dueMs: everySecond, atMs: strike('end') })
  expect(ended.end).toBe('the end')
  expect(ended.endMs).toBeLessThan(2_511)
  const stalled = await follow({ dueMs: everySecond, atMs: strike('stall') })
  expect(stalled).toMatchObject({ end: 'nothing' })
  expect(numbersOf(stalled)).toEqual([1, 2])
  expect(stalled.source.closedAtMs).toBe(LIFETIME_MS)
})

test('a cut is survived, with all events in order, or nothing is heard any more', async () => {
  const cut = (nowMs: number): Cut => (nowMs > 5_000 && nowMs < 9_000 ? 'answers' : 'none')
  const runs = await Promise.all(seeds.map((seed) => follow({ seed, dueMs: everySecond, cut })))
  const outcomes = new Set(runs.map((came) => `${came.events.length} ${came.end}`))
  expect(outcomes).toEqual(new Set(['50 the end', '4 nothing']))
})

test('in bad weather links break, stall and are slow', async () => {
  const weather = { ...FAIR, answerLost: 0.3 }
  const runs = await Promise.all(seeds.map((seed) => follow({ seed, weather, dueMs: everySecond.slice(0, 3) })))
  expect(new Set(runs.map(({ end }) => end))).toEqual(new Set(['the end', 'Error', 'nothing']))
  expect(
    runs.some(
      (came) => came.end === 'the end' && came.events.some(({ atMs }, i) => atMs > came.source.sentMs[i]! + 100),
    ),
  ).toBe(true)
})
