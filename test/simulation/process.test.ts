import { seededRandom } from '@shardwise/core/testing'
import { expect, test } from 'vitest'
import { SimulatedProcess } from './process.ts'
import { VirtualTime } from './virtual-time.ts'

function processOf({ clockRate = 1 } = {}): { time: VirtualTime; process: SimulatedProcess } {
  const time = new VirtualTime(seededRandom(1))
  return {
    time,
    process: new SimulatedProcess({ time, random: seededRandom(2), name: 'worker#1', clockRate, wallOffsetMs: 0 }),
  }
}

test('nothing of a dead process settles any more', async () => {
  const { time, process } = processOf()
  let woke = false
  void process.sleep(10).then(() => {
    woke = true
  })
  time.at(5, () => process.kill())
  await time.run(() => false)
  expect(time.nowMs).toBeGreaterThan(5)
  expect(woke).toBe(false)
})

test('what comes in while a process is paused waits until it goes on', async () => {
  const { time, process } = processOf()
  let wokeAtMs = 0
  void process.sleep(10).then(() => {
    wokeAtMs = time.nowMs
  })
  time.at(5, () => process.pause(100))
  await time.run(() => false)
  expect(wokeAtMs).toBe(105)
})

test('a clock that runs fast wakes its process early', async () => {
  const { time, process } = processOf({ clockRate: 2 })
  let wokeAtMs = 0
  void process.sleep(1_000).then(() => {
    wokeAtMs = time.nowMs
  })
  await time.run(() => false)
  expect(wokeAtMs).toBeGreaterThan(499)
  expect(wokeAtMs).toBeLessThan(502)
  expect(process.monotonicMs()).toBe(2 * time.nowMs)
})

test('an aborted sleep rejects at once, with the reason', async () => {
  const { process } = processOf()
  const abort = new AbortController()
  const slept = process.sleep(10, abort.signal)
  abort.abort(new Error('enough'))
  await expect(slept).rejects.toThrow('enough')
  await expect(process.sleep(10, abort.signal)).rejects.toThrow('enough')
})

test('what a process does after it has computed for long happens after that', async () => {
  const { time, process } = processOf()
  const happened: (readonly [what: string, atMs: number])[] = []
  time.at(10, () => {
    process.block(100)
    happened.push(['computed', process.monotonicMs()])
    expect(process.aheadMs).toBe(100)
    void process.sleep(5).then(() => happened.push(['slept', time.nowMs]))
  })
  time.at(50, () => process.enter(() => happened.push(['heard', time.nowMs])))
  await time.run(() => false)
  expect(happened.slice(0, 2)).toEqual([
    ['computed', 110],
    ['heard', 110],
  ])
  expect(happened[2]?.[0]).toBe('slept')
  expect(happened[2]?.[1]).toBeGreaterThan(114)
  expect(process.aheadMs).toBe(0)
})
