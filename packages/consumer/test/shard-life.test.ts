import { describe, expect, test } from 'vitest'
import type { Handlers } from '../src/run-options.ts'
import { ConsumerStage, F } from './consumer-stage.ts'
import { CLOSE_MS, durationOf, keyIn, Life, never, status } from './life.ts'
import { shardIdOf } from './modelled-kinesis.ts'

describe('a stopped shard', () => {
  test('keeps its lease, reads nothing, and holds nothing in memory', async () => {
    const life = new Life()
    for (const text of ['good', 'bad', 'later']) life.stage.kinesis.put(text)
    const worker = life.start()
    await life.stopped(worker)
    const [reads, counter] = [life.stage.kinesis.count('GetRecords'), life.counter()]
    await life.stage.clock.advance(10 * F)
    expect(life.stage.kinesis.count('GetRecords')).toBe(reads)
    expect(life.counter()).toBeGreaterThan(counter + 15)
    expect(status(worker)).toMatchObject({ bufferedBytes: 0, bufferedRecords: 0, isAheadFull: false, paused: false })
  })

  test('says since when, at which record and why, and how old the oldest unfinished record is', async () => {
    const life = new Life()
    const { SequenceNumber } = life.stage.kinesis.put('bad')
    const worker = life.start()
    await life.stopped(worker)
    const wallMs = life.stage.clock.wallMs()
    await life.stage.clock.advance(5 * F)
    const { stopped, oldestUnfinished } = status(worker)!
    const position = { sequenceNumber: SequenceNumber, subSequenceNumber: 0 }
    expect(stopped).toMatchObject({
      record: { partitionKey: 'bad', position },
      attempts: 1,
      error: new Error('no good'),
    })
    expect(Math.abs(Number(stopped!.since) - wallMs)).toBeLessThanOrEqual(10)
    expect(Number(stopped!.retryAt) - Number(stopped!.since)).toBe(20 * F)
    expect(oldestUnfinished).toMatchObject({ partitionKey: 'bad', ...position })
    expect(oldestUnfinished!.ageMs).toBeGreaterThanOrEqual(5 * F)
    // The next try is another session, but the record has been in hand all the time.
    await life.stage.clock.advance(16 * F)
    expect(life.handled).toEqual(['bad', 'bad'])
    expect(status(worker)!.oldestUnfinishedMs).toBeGreaterThanOrEqual(21 * F)
    expect(Number(status(worker)!.stopped!.since)).toBe(Number(stopped!.since))
  })

  test('rests longer each time, up to ten times as long', async () => {
    const life = new Life()
    life.stage.kinesis.put('bad')
    const worker = life.start({ stoppedRetryMs: F })
    await life.stage.clock.advance(50 * F)
    const rests = worker.told('shardStopped').map(({ retryInMs }) => retryInMs! / F)
    expect(rests.slice(0, 6)).toEqual([1, 2, 4, 8, 10, 10])
  })

  test('rests anew for the next record that fails', async () => {
    const life = new Life()
    life.stage.kinesis.put('bad 1')
    const worker = life.start({ stoppedRetryMs: F, ordering: 'shard' })
    await life.stage.clock.advance(4 * F)
    life.isMended = true
    await life.stage.clock.advance(8 * F)
    expect(worker.consumer.status().healthy).toBe(true)
    life.isMended = false
    life.stage.kinesis.put('bad 2')
    await life.stage.clock.advance(F)
    const stops = worker.told('shardStopped')
    expect(stops.map(({ partitionKey, retryInMs }) => `${partitionKey} ${retryInMs}`)).toEqual([
      'bad 1 1000',
      'bad 1 2000',
      'bad 1 4000',
      'bad 2 1000',
    ])
  })

  test('is tried at once when it is resumed, and twice is once', async () => {
    const life = new Life()
    life.stage.kinesis.put('bad')
    const worker = life.start()
    await life.stopped(worker)
    life.isMended = true
    worker.consumer.resume({ shardId: shardIdOf(0) })
    worker.consumer.resume({ shardId: shardIdOf(0) })
    await life.stage.clock.advance(100)
    expect(life.handled).toEqual(['bad', 'bad'])
    expect(worker.told('shardResumed')).toHaveLength(1)
    expect(worker.consumer.status()).toMatchObject({
      healthy: true,
      shards: [{ state: 'reading', stopped: undefined }],
    })
  })

  test('what was finished beyond it is not handled again, nor what had failed before tried anew', async () => {
    const life = new Life()
    for (const text of ['bad', 'b', 'c']) life.stage.kinesis.put(text)
    const worker = life.start({ maxAttempts: 3 })
    await life.stopped(worker)
    expect(life.handled).toEqual(['bad', 'b', 'c', 'bad', 'bad'])
    worker.consumer.resume()
    await life.stage.clock.advance(F)
    // Once each time that the shard is tried.
    expect(life.handled).toEqual(['bad', 'b', 'c', 'bad', 'bad', 'bad'])
    expect(worker.told('shardStopped').map(({ attempts }) => attempts)).toEqual([3, 4])
    life.isMended = true
    worker.consumer.resume()
    await life.stage.clock.advance(F)
    expect(life.handled).toEqual(['bad', 'b', 'c', 'bad', 'bad', 'bad', 'bad'])
  })

  test('is given back at once when the consumer closes, with its hook called', async () => {
    const life = new Life()
    life.stage.kinesis.put('bad')
    const worker = life.start()
    await life.stopped(worker)
    expect(await durationOf(life, worker.consumer.close())).toBeLessThan(100)
    expect(life.hooks).toEqual(['start 0', 'release 0'])
    expect(life.stage.lease(0).owner).toBeUndefined()
    expect(life.stage.clock.sleeping).toBe(0)
  })

  test('is handed off at once', async () => {
    const life = new Life()
    life.stage.kinesis.put('bad')
    const worker = life.start()
    await life.stopped(worker)
    life.stage.change(0, { leaseOwner: { S: 'other' }, checkpointOwner: { S: 'worker' } })
    await life.stage.until('it is handed off', () => worker.told('leaseHandedOff').length > 0, 2 * F)
    expect(life.hooks).toEqual(['start 0', 'release 0'])
  })

  test('whose lease is lost is gone, with its hook called', async () => {
    const life = new Life()
    life.stage.kinesis.put('bad')
    const worker = life.start()
    await life.stopped(worker)
    life.stage.take(0, 'other')
    await life.stage.until('it is lost', () => worker.told('leaseLost').length > 0, 2 * F)
    await life.stage.clock.advance(100)
    expect(life.hooks).toEqual(['start 0', 'lost 0'])
    expect(status(worker)).toBeUndefined()
  })

  test('waits for what runs, then aborts it', async () => {
    const life = new Life()
    for (const text of ['slow', 'bad']) life.stage.kinesis.put(text)
    const worker = life.start()
    await life.stopped(worker)
    expect(worker.consumer.status()).toMatchObject({ healthy: false, shards: [{ stopped: { attempts: 1 } }] })
    await life.stage.clock.advance(CLOSE_MS - 500)
    expect(life.aborted).toEqual([])
    expect(status(worker)!.bufferedBytes).toBeGreaterThan(0)
    await life.stage.clock.advance(F)
    expect(life.aborted).toEqual(['ERR_STOPPED'])
    expect(status(worker)!.bufferedBytes).toBe(0)
    expect(worker.told('shardStopped')).toHaveLength(1)
  })

  test('is not tried again beside a handler that ignores its signal', async () => {
    const life = new Life()
    for (const text of ['slow', 'bad']) life.stage.kinesis.put(text)
    const worker = life.start({ stoppedRetryMs: F })
    await life.stopped(worker)
    await life.stage.clock.advance(60 * F)
    expect(life.handled).toEqual(['slow', 'bad'])
    expect(status(worker)).toMatchObject({ state: 'stopped', bufferedBytes: 0 })
    life.slow.resolve()
    await life.stage.clock.advance(2 * F)
    // What it did after its signal was aborted doesn't count.
    expect(life.handled.slice(0, 4).toSorted()).toEqual(['bad', 'bad', 'slow', 'slow'])
  })

  test('with a handler that ignores its signal is given back at once all the same', async () => {
    const life = new Life()
    for (const text of ['slow', 'bad']) life.stage.kinesis.put(text)
    const worker = life.start({ stoppedRetryMs: F })
    await life.stopped(worker)
    await life.stage.clock.advance(60 * F)
    expect(await durationOf(life, worker.consumer.close())).toBeLessThan(100)
    expect(life.hooks).toEqual(['start 0', 'release 0'])
  })

  test('that is resumed while it waits for what runs is tried again right after', async () => {
    const life = new Life()
    for (const text of ['slow', 'bad']) life.stage.kinesis.put(text)
    const worker = life.start()
    await life.stopped(worker)
    worker.consumer.resume()
    await life.stage.clock.advance(100)
    expect(life.handled).toEqual(['slow', 'bad'])
    life.slow.resolve()
    life.isMended = true
    await life.stage.clock.advance(400)
    expect(life.handled).toEqual(['slow', 'bad', 'bad'])
  })

  test('that is asked to stop while it waits for what runs finishes that first', async () => {
    const life = new Life()
    for (const text of ['slow', 'bad']) life.stage.kinesis.put(text)
    const worker = life.start()
    await life.stopped(worker)
    const closed = worker.consumer.close()
    await life.stage.clock.advance(500)
    expect([worker.isOver, life.aborted]).toEqual([false, []])
    life.slow.resolve()
    expect(await durationOf(life, closed)).toBeLessThan(100)
    expect(life.stage.checkpointsOf(0)).toHaveLength(1)
  })

  test('that stops while it is drained is given back without waiting for the rest of the time', async () => {
    const life = new Life()
    life.stage.kinesis.put('slow')
    const worker = life.start()
    await life.stage.until('it is handled', () => life.handled.length > 0)
    life.stage.kinesis.put('bad', 'slow')
    await life.stage.clock.advance(100)
    const closed = worker.consumer.close()
    await life.stage.clock.advance(100)
    life.slow.resolve()
    expect(await durationOf(life, closed)).toBeLessThan(200)
    expect(life.stage.lease(0).owner).toBeUndefined()
  })

  test('keeps its children waiting, and they say for whom', async () => {
    const life = new Life()
    life.stage.kinesis.put('bad')
    const worker = life.start()
    await life.stopped(worker)
    life.stage.kinesis.resize(2)
    // A leader that sees the new shards gives them leases; their reader would be the first to do so otherwise.
    await life.stage.clock.advance(130 * F)
    const children = worker.consumer.status().shards.filter(({ shardId }) => shardId !== shardIdOf(0))
    for (const child of children) expect(child).toMatchObject({ state: 'waiting', waitingFor: [shardIdOf(0)] })
    life.isMended = true
    worker.consumer.resume()
    await life.stage.until('the children are read', () => status(worker, 2)?.state === 'reading')
    expect(status(worker, 1)).toMatchObject({ state: 'reading', waitingFor: [] })
  })
})

describe('paused', () => {
  test('nothing new is begun and nothing tried again, what runs goes on, and the leases are kept', async () => {
    const life = new Life()
    life.stage.kinesis.put('slow')
    life.stage.kinesis.put('bad')
    const worker = life.start({ maxAttempts: 9 })
    await life.stage.until('both are handled', () => life.handled.length === 2)
    worker.consumer.pause()
    const counter = life.counter()
    life.stage.kinesis.put('new')
    life.slow.resolve()
    await life.stage.clock.advance(20 * F)
    expect(life.handled).toEqual(['slow', 'bad'])
    expect(life.stage.checkpointsOf(0)).toHaveLength(1)
    expect(life.counter()).toBeGreaterThan(counter + 30)
    expect(status(worker)).toMatchObject({ state: 'reading', paused: true, stopped: undefined })
    life.isMended = true
    worker.consumer.resume()
    worker.consumer.resume()
    await life.stage.clock.advance(F)
    expect(life.handled.toSorted()).toEqual(['bad', 'bad', 'new', 'slow'])
  })

  test('by a handler, nothing more is begun at once', async () => {
    const stage = new ConsumerStage()
    const handled: string[] = []
    for (let number = 0; number < 20; number++) stage.kinesis.put(String(number))
    const worker = stage.start('worker', {
      eachRecord: (record) => {
        if (handled.push(record.text()) === 3) worker.consumer.pause()
      },
    })
    await stage.clock.advance(3 * F)
    expect(handled).toEqual(['0', '1', '2'])
    worker.consumer.resume()
    await stage.clock.advance(F)
    expect(handled).toHaveLength(20)
  })

  test('one shard, others go on; and one that is taken up later', async () => {
    const life = new Life(2)
    const worker = life.start({})
    worker.consumer.pause({ shardId: shardIdOf(1) })
    life.stage.kinesis.put('a', keyIn(0))
    life.stage.kinesis.put('b', keyIn(1))
    await life.stage.clock.advance(5 * F)
    expect(life.handled).toEqual(['a'])
    worker.consumer.resume({ stream: 'flights' })
    await life.stage.clock.advance(F)
    expect(life.handled).toEqual(['a', 'b'])
    expect(() => worker.consumer.pause({ shard: shardIdOf(1) } as object)).toThrow('unknown option "shard"')
  })

  test('a stopped shard is not tried before it is resumed', async () => {
    const life = new Life()
    life.stage.kinesis.put('bad')
    const worker = life.start({ stoppedRetryMs: F })
    await life.stopped(worker)
    worker.consumer.pause()
    await life.stage.clock.advance(30 * F)
    expect(life.handled).toEqual(['bad'])
    expect(status(worker)).toMatchObject({ state: 'stopped', paused: true })
    worker.consumer.resume()
    await life.stage.clock.advance(100)
    expect(life.handled).toEqual(['bad', 'bad'])
  })

  test('a consumer closes without beginning anything', async () => {
    const life = new Life()
    life.stage.kinesis.put('bad')
    const worker = life.start({ maxAttempts: 9 })
    await life.stage.until('it is handled', () => life.handled.length > 0)
    worker.consumer.pause()
    life.stage.kinesis.put('new')
    await life.stage.clock.advance(F)
    expect(await durationOf(life, worker.consumer.close())).toBeLessThan(100)
    expect(life.handled).toEqual(['bad'])
  })
})

describe('what hangs', () => {
  test.each(['start', 'release'])('in the hook at its %s does not hang close()', async (name) => {
    const life = new Life(1, { [name]: never })
    const worker = life.start()
    await life.stage.until('it is held', () => life.hooks.includes('start 0'))
    await life.stage.clock.advance(100)
    expect(await durationOf(life, worker.consumer.close())).toBeLessThan(CLOSE_MS + 600)
    expect(life.stage.lease(0).owner).toBeUndefined()
    expect(worker.told('hookFailed')).toHaveLength(name === 'release' ? 1 : 0)
  })

  test('in the hook at the end does not hang a handoff, and the lease is renewed through it', async () => {
    const life = new Life(1, { end: never })
    const worker = life.start()
    await life.stage.until('it is read', () => status(worker)?.state === 'reading')
    life.stage.kinesis.resize(2)
    await life.stage.until('its end has come', () => life.hooks.includes('end 0'))
    const counter = life.counter()
    await life.stage.clock.advance(10 * F)
    expect(life.counter()).toBeGreaterThan(counter + 15)
    life.stage.change(0, { leaseOwner: { S: 'other' }, checkpointOwner: { S: 'worker' } })
    await life.stage.until('it is handed off', () => worker.told('leaseHandedOff').length > 0, CLOSE_MS + 2 * F)
    expect(life.hooks).toEqual(['start 0', 'end 0', 'release 0'])
  })

  test('in a handler and in a hook share one deadline', async () => {
    const life = new Life(1, { release: never })
    life.stage.kinesis.put('slow')
    const worker = life.start()
    await life.stage.until('it is handled', () => life.handled.length > 0)
    expect(await durationOf(life, worker.consumer.close())).toBeLessThan(CLOSE_MS + 600)
    expect(life.aborted).toEqual(['ERR_CLOSED'])
  })

  test('is aborted by a second close(), not by a disposal', async () => {
    const life = new Life(1, { release: never })
    life.stage.kinesis.put('slow')
    const worker = life.start({ closeTimeout: 60 * F })
    await life.stage.until('it is handled', () => life.handled.length > 0)
    const closed = worker.consumer.close()
    void worker.consumer[Symbol.asyncDispose]()
    await life.stage.clock.advance(5 * F)
    expect([life.aborted, worker.isOver]).toEqual([[], false])
    expect(await durationOf(life, Promise.all([closed, worker.consumer.close()]))).toBeLessThan(700)
    expect(life.aborted).toEqual(['ERR_CLOSED'])
  })

  test('is not aborted by the first close() after the signal of run()', async () => {
    const life = new Life()
    life.stage.kinesis.put('slow')
    const stop = new AbortController()
    const worker = life.stage.create('worker', { closeTimeout: 60 * F })
    worker.run({ ...life.handlers, signal: stop.signal } as Handlers)
    await life.stage.until('it is handled', () => life.handled.length > 0)
    stop.abort()
    const closed = worker.consumer.close()
    await life.stage.clock.advance(5 * F)
    expect([life.aborted, worker.isOver]).toEqual([[], false])
    life.slow.resolve()
    expect(await durationOf(life, closed)).toBeLessThan(100)
  })

  test('in the hook of a lost lease does not hang close()', async () => {
    const life = new Life(1, { lost: never })
    const worker = life.start()
    await life.stage.until('it is read', () => status(worker)?.state === 'reading')
    life.stage.take(0, 'other')
    await life.stage.until('it is lost', () => life.hooks.includes('lost 0'))
    expect(await durationOf(life, worker.consumer.close())).toBeLessThan(CLOSE_MS + 600)
  })
})
