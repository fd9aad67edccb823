import { seededRandom } from '@shardwise/core/testing'
import { expect, test } from 'vitest'
import { type Cut, FAIR, Network, type Weather } from './network.ts'
import { SimulatedProcess } from './process.ts'
import { VirtualTime } from './virtual-time.ts'

const TIMEOUT_MS = 1_000

/** Sends one request and lets everything happen. */
async function send({
  weather = FAIR,
  cut = 'none',
  seed = 1,
  atMs = {},
  timeoutMs = TIMEOUT_MS,
  isHung = false,
}: {
  weather?: Weather
  cut?: Cut
  seed?: number
  /** What happens to the process while the request is on its way. */
  atMs?: Record<number, (process: SimulatedProcess, abort: AbortController) => void>
  timeoutMs?: number
  isHung?: boolean
} = {}): Promise<{ executedAtMs: number[]; came: string }> {
  const time = new VirtualTime(seededRandom(seed))
  const network = new Network({
    time,
    random: seededRandom(seed),
    wayMs: 10,
    weather: () => weather,
    cut: () => cut,
    trace: () => {},
  })
  const process = new SimulatedProcess({
    time,
    random: seededRandom(3),
    name: 'worker#1',
    clockRate: 1,
    wallOffsetMs: 0,
  })
  const abort = new AbortController()
  for (const [ms, act] of Object.entries(atMs)) time.at(Number(ms), () => act(process, abort))
  const executedAtMs: number[] = []
  let came = 'nothing'
  network
    .call({
      process,
      service: 'kinesis',
      timeoutMs,
      lateMs: TIMEOUT_MS,
      isHung: () => isHung,
      signal: abort.signal,
      execute: () => executedAtMs.push(time.nowMs),
      describe: () => 'a request',
    })
    .then(
      () => {
        came = 'the answer'
      },
      (error: Error) => {
        came = error.name
      },
    )
  await time.run(() => false)
  return { executedAtMs, came }
}

const seeds = Array.from({ length: 40 }, (_, index) => index + 1)

test('in fair weather a request is executed once and answered', async () => {
  const { executedAtMs, came } = await send()
  expect(executedAtMs).toHaveLength(1)
  expect(executedAtMs[0]).toBeLessThanOrEqual(10)
  expect(came).toBe('the answer')
})

test('a lost request is never executed; its sender sees the connection break, or waits for the timeout', async () => {
  const runs = await Promise.all(seeds.map((seed) => send({ seed, weather: { ...FAIR, lost: 1 } })))
  expect(runs.flatMap(({ executedAtMs }) => executedAtMs)).toEqual([])
  expect(new Set(runs.map(({ came }) => came))).toEqual(new Set(['Error', 'TimeoutError']))
})

test('a request whose answer is lost is executed all the same', async () => {
  const runs = await Promise.all(seeds.map((seed) => send({ seed, weather: { ...FAIR, answerLost: 1 } })))
  expect(runs.every(({ executedAtMs }) => executedAtMs.length === 1)).toBe(true)
  expect(new Set(runs.map(({ came }) => came))).toEqual(new Set(['Error', 'TimeoutError']))
})

test('a late request is executed after its sender has given it up', async () => {
  const { executedAtMs, came } = await send({ weather: { ...FAIR, late: 1 } })
  expect(executedAtMs[0]).toBeGreaterThan(TIMEOUT_MS)
  expect(came).toBe('TimeoutError')
})

test('who waits for ever gets no sign of a request that is lost or hangs, until it gives it up itself', async () => {
  const patient = { timeoutMs: Number.POSITIVE_INFINITY }
  expect(await send({ ...patient, cut: 'requests' })).toEqual({ executedAtMs: [], came: 'nothing' })
  expect(await send({ ...patient, isHung: true })).toEqual({ executedAtMs: [], came: 'nothing' })
  const giveUp = { 5000: (_: SimulatedProcess, abort: AbortController) => abort.abort() }
  expect(await send({ ...patient, isHung: true, atMs: giveUp })).toEqual({ executedAtMs: [], came: 'AbortError' })
})

test('a cut keeps requests or answers back without a sign', async () => {
  expect(await send({ cut: 'requests' })).toMatchObject({ executedAtMs: [], came: 'TimeoutError' })
  expect((await send({ cut: 'answers' })).executedAtMs).toHaveLength(1)
  expect((await send({ cut: 'answers' })).came).toBe('TimeoutError')
})

test('what a dead process has sent is executed or lost, and never answered', async () => {
  const kill = { 0: (process: SimulatedProcess) => process.kill() }
  const runs = await Promise.all(seeds.map((seed) => send({ seed, atMs: kill })))
  expect(new Set(runs.map(({ executedAtMs }) => executedAtMs.length))).toEqual(new Set([0, 1]))
  expect(runs.every(({ came }) => came === 'nothing')).toBe(true)
})

test('an aborted request rejects at once, and may be executed nevertheless', async () => {
  const abort = { 0.01: (_: SimulatedProcess, controller: AbortController) => controller.abort() }
  const { executedAtMs, came } = await send({ atMs: abort })
  expect(came).toBe('AbortError')
  expect(executedAtMs).toHaveLength(1)
})
