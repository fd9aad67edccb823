import { settle } from '@shardwise/core/testing'
import { beforeEach, expect, test } from 'vitest'
import { RecordIterator } from './record-iterator.ts'

class Source {
  readonly items: (number | Error)[] = []
  isOver = false
  starts = 0
  closes = 0
  closed: Promise<void> = Promise.resolve()
  onChange: () => void = () => undefined

  start(onChange: () => void): void {
    this.starts++
    this.onChange = onChange
  }

  take(): number | undefined {
    const item = this.items.shift()
    if (item instanceof Error) throw item
    return item
  }

  close(): Promise<void> {
    this.closes++
    return this.closed
  }

  give(...items: (number | Error)[]): void {
    this.items.push(...items)
    this.onChange()
  }
}

let source: Source
let records: RecordIterator<number>

beforeEach(() => {
  source = new Source()
  records = new RecordIterator(source)
})

const DONE = { done: true, value: undefined }
const gave = (value: number): object => ({ done: false, value })

test('nothing begins before the first is asked for', async () => {
  expect(source.starts).toBe(0)
  void records.next()
  void records.next()
  expect(source.starts).toBe(1)
  await records.return()
})

test('a loop gets what there is and what comes later, and leaving it releases everything', async () => {
  source.items.push(1, 2)
  const got: number[] = []
  setImmediate(() => source.give(3))
  for await (const record of records) {
    got.push(record)
    if (record === 3) break
  }
  expect(got).toEqual([1, 2, 3])
  expect(source.closes).toBe(1)
})

test('several that are asked for at once are given in order', async () => {
  const asked = [records.next(), records.next(), records.next()]
  source.give(1)
  source.give(2, 3)
  expect(await Promise.all(asked)).toEqual([gave(1), gave(2), gave(3)])
})

test('the end of the source ends it, for all who wait', async () => {
  const asked = [records.next(), records.next(), records.next()]
  source.items.push(1)
  source.isOver = true
  source.onChange()
  expect(await Promise.all(asked)).toEqual([gave(1), DONE, DONE])
  expect(await records.next()).toEqual(DONE)
  expect(source.closes).toBe(1)
})

test('an end that nobody waits for releases everything too', () => {
  source.start = (onChange) => {
    source.onChange = onChange
  }
  source.items.push(1)
  void records.next()
  source.isOver = true
  source.onChange()
  expect(source.closes).toBe(1)
})

test('what the source throws goes to who asked for it, and ends it', async () => {
  const asked = [records.next(), records.next(), records.next()]
  source.give(1, new Error('damaged'), 2)
  expect(await Promise.allSettled(asked)).toEqual([
    { status: 'fulfilled', value: gave(1) },
    { status: 'rejected', reason: new Error('damaged') },
    { status: 'fulfilled', value: DONE },
  ])
  expect(await records.next()).toEqual(DONE)
  expect(source.closes).toBe(1)
})

test('the last answer comes when everything has been released', async () => {
  const released = Promise.withResolvers<void>()
  source.closed = released.promise
  let answers = 0
  const count = (): number => answers++
  void records.next().then(count)
  void records.return().then(count)
  void records.next().then(count)
  await settle()
  expect(answers).toBe(0)
  released.resolve()
  await settle()
  expect(answers).toBe(3)
})

test('what is thrown into it comes out again, after everything has been released', async () => {
  const error = new Error('stop')
  await expect(records.throw(error)).rejects.toBe(error)
  expect(source.closes).toBe(1)
  expect(await records.next()).toEqual(DONE)
  expect(source.starts).toBe(0)
})

test('it is disposed of like a resource', async () => {
  {
    await using tail = records
    source.items.push(1)
    expect(await tail.next()).toEqual(gave(1))
  }
  expect(source.closes).toBe(1)
})
