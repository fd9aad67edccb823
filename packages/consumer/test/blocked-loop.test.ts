import type { Clock } from '@shardwise/core'
import { expect, test } from 'vitest'
import type { ConsumerOptions, Handlers } from '../src/index.ts'
import { ConsumerStage, F, type StagedWorker } from './consumer-stage.ts'

/** One worker whose process can be kept from everything else: time passes, and no timer rings. */
class Process {
  readonly stage: ConsumerStage = new ConsumerStage()
  readonly handled: string[] = []
  #blockedMs = 0

  start(handlers: Handlers, options: Partial<ConsumerOptions> = {}): StagedWorker {
    return this.stage.start('worker', handlers, { clock: this.clock, ...options })
  }

  get clock(): Clock {
    const { clock } = this.stage
    return {
      monotonicMs: () => clock.monotonicMs() + this.#blockedMs,
      wallMs: () => clock.wallMs() + this.#blockedMs,
      sleep: (ms, signal) => clock.sleep(ms, signal),
    }
  }

  /** What the handler does with a record: "block" takes twice the failover time, the first time. */
  handle(text: string): void {
    const isFirst = !this.handled.includes(text)
    this.handled.push(text)
    if (text === 'block' && isFirst) this.#blockedMs += 2 * F
  }
}

const wait = (): Promise<void> => Promise.resolve()

test.each([
  ['returns', { eachRecord: (process: Process) => (text: string) => process.handle(text) }],
  [
    'gives a promise',
    {
      eachRecord: (process: Process) => async (text: string) => {
        await wait()
        process.handle(text)
      },
    },
  ],
])(
  'a handler that %s and blocks the process for twice failoverTime: nothing is delivered or written before its lease is lost',
  async (_, { eachRecord }) => {
    const process = new Process()
    const handle = eachRecord(process)
    for (const text of ['before', 'block', 'after']) process.stage.kinesis.put(text, 'key')
    const worker = process.start({ eachRecord: (record) => handle(record.text()) })
    await process.stage.until('it blocks', () => process.handled.includes('block'))
    // The loop turns again, and no timer has rung yet.
    await process.stage.clock.advance(0)
    expect(process.handled).toEqual(['before', 'block'])
    const written = process.stage.written.length
    await process.stage.until('the lease is lost', () => worker.told('leaseLost').length > 0)
    expect(process.stage.written).toHaveLength(written)
    expect(process.handled).toEqual(['before', 'block'])
    await process.stage.until('all is handled', () => process.handled.includes('after'))
    // It was begun under a lease that was lost: it comes again, before what follows it.
    expect(process.handled.slice(-2)).toEqual(['block', 'after'])
    expect(worker.told('eventLoopBlocked')).toMatchObject([
      { blockedMs: 2 * F, handler: 'eachRecord', partitionKey: 'key', subSequenceNumber: 0 },
    ])
  },
)

test('a handler of batches is named with its function', async () => {
  const process = new Process()
  process.stage.kinesis.put('block')
  const worker = process.start({
    maxWaitMs: 0,
    eachBatch: function store(records) {
      for (const record of records) process.handle(record.text())
    },
  })
  await process.stage.until('it is told', () => worker.told('eventLoopBlocked').length > 0)
  expect(worker.told('eventLoopBlocked')).toMatchObject([{ handler: 'eachBatch store', partitionKey: 'block' }])
})

test('a loop over records() that blocks gets nothing of a lease that may be lost', async () => {
  const process = new Process()
  for (const text of ['block', 'after']) process.stage.kinesis.put(text)
  const { consumer, events } = process.stage.create('worker', { clock: process.clock })
  const records = consumer.records()
  const { value } = await process.stage.done(records.next())
  process.handle(value!.text())
  const { value: again } = await process.stage.done(records.next())
  expect(events.some(({ type }) => type === 'leaseLost')).toBe(true)
  expect(again!.text()).toBe('block')
  await process.stage.done(records.return!())
})
