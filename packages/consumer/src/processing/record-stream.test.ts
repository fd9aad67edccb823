import { getEventListeners } from 'node:events'
import { settle } from '@shardwise/core/testing'
import { describe, expect, test } from 'vitest'
import { RecordIterator } from '../tail/record-iterator.ts'
import { ConsumerRecord } from './consumer-record.ts'
import type { EachRecord, HandlerContext } from './handlers.ts'
import { RecordStream } from './record-stream.ts'

/** A run whose records the test hands over. */
class Run {
  readonly settled: string[] = []
  isHeld = true
  later: (() => void)[] = []
  readonly #abort = new AbortController()
  readonly #end = Promise.withResolvers<void>()
  #eachRecord: EachRecord | undefined

  readonly iterator: RecordIterator<ConsumerRecord> = new RecordIterator(
    new RecordStream({
      run: (eachRecord) => {
        this.#eachRecord = eachRecord
        return this.#end.promise
      },
      isHeld: () => this.isHeld,
      later: (again) => this.later.push(again),
      close: () => {
        this.#abort.abort(new Error('closed'))
        this.end()
        return this.#end.promise.catch(() => undefined)
      },
    }),
  )

  get isRunning(): boolean {
    return this.#eachRecord !== undefined
  }

  offer(number: number, signal: AbortSignal = this.#abort.signal): void {
    const source = { stream: 'flights', shardId: 'shard-1', sequenceNumber: String(number), arrivedAt: undefined }
    const record = new ConsumerRecord(source, 'key', undefined, new Uint8Array(), 0, false)
    const result = this.#eachRecord?.(record, { signal, attempt: 1 } as HandlerContext) as Promise<void>
    result.then(
      () => this.settled.push(`${number} finished`),
      () => this.settled.push(`${number} not handled`),
    )
  }

  end(error?: Error): void {
    if (error === undefined) this.#end.resolve()
    else this.#end.reject(error)
  }
}

const numberOf = (result: IteratorResult<ConsumerRecord>): string | undefined =>
  result.done ? 'done' : result.value.sequenceNumber

describe('records in a loop', () => {
  test('a record that comes when its lease is lost already is not handled', async () => {
    const run = new Run()
    void run.iterator.next()
    run.offer(1, AbortSignal.abort(new Error('lost')))
    await settle()
    expect(run.settled).toEqual(['1 not handled'])
  })

  test('the run begins with the first next(), and asking for the next record finishes the one before', async () => {
    const run = new Run()
    expect(run.isRunning).toBe(false)
    const first = run.iterator.next()
    run.offer(1)
    expect(numberOf(await first)).toBe('1')
    await settle()
    expect(run.settled).toEqual([])
    const second = run.iterator.next()
    await settle()
    expect(run.settled).toEqual(['1 finished'])
    run.offer(2)
    expect(numberOf(await second)).toBe('2')
  })

  test('nothing is kept of a record that is finished', async () => {
    const run = new Run()
    const { signal } = new AbortController()
    for (let number = 1; number <= 20; number++) {
      const next = run.iterator.next()
      run.offer(number, signal)
      await next
    }
    expect(getEventListeners(signal, 'abort')).toHaveLength(1)
  })

  test('leaving the loop closes the run, and the record in hand does not count as handled', async () => {
    const run = new Run()
    const first = run.iterator.next()
    run.offer(1)
    await first
    expect(await run.iterator.return()).toEqual({ done: true, value: undefined })
    await settle()
    expect(run.settled).toEqual(['1 not handled'])
    expect(numberOf(await run.iterator.next())).toBe('done')
  })

  test('a throw inside the loop is passed on after the same end', async () => {
    const run = new Run()
    const loop = (async () => {
      for await (const record of run.iterator) throw new Error(`no ${record.sequenceNumber}`)
    })()
    run.offer(1)
    await expect(loop).rejects.toThrow('no 1')
    await settle()
    expect(run.settled).toEqual(['1 not handled'])
  })

  test('a run that ends, by close() elsewhere, ends the loop; one that fails throws from next()', async () => {
    const [closed, failed] = [new Run(), new Run()]
    const [last, lastOfFailed] = [closed.iterator.next(), failed.iterator.next()]
    closed.end()
    expect(numberOf(await last)).toBe('done')
    failed.end(new Error('no such stream'))
    await expect(lastOfFailed).rejects.toThrow('no such stream')
    expect(numberOf(await failed.iterator.next())).toBe('done')
  })

  test('a record whose lease turns out to be held after all is given out then', async () => {
    const run = new Run()
    const first = run.iterator.next()
    run.isHeld = false
    run.offer(1)
    await settle()
    run.isHeld = true
    for (const again of run.later) again()
    expect(numberOf(await first)).toBe('1')
  })

  test('a record whose lease is lost before it is given out is not given out', async () => {
    const run = new Run()
    const first = run.iterator.next()
    run.offer(1)
    await first
    const lost = new AbortController()
    run.offer(2, lost.signal)
    run.isHeld = false
    const second = run.iterator.next()
    await settle()
    lost.abort(new Error('lost'))
    run.isHeld = true
    run.offer(3)
    expect(numberOf(await second)).toBe('3')
    await settle()
    expect(run.settled.toSorted()).toEqual(['1 finished', '2 not handled'])
  })
})
