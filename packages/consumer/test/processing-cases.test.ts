/**
 * What users of a KCL rely on when records are handled, by number, each as one or more sentences; and where this consumer does
 * better on purpose: a hook at a shard's end is tried so often and not for ever (69), what fails is tried again and never passed over (70),
 * and a stop has a deadline and leaves the leases to others (79).
 */
import { createHash } from 'node:crypto'
import { AGGREGATE_MAGIC, comparePositions, hashKeyOf, type Position } from '@shardwise/records'
import { describe, expect, test } from 'vitest'
import type {
  ConsumerRecord,
  DeadLetter,
  EachRecord,
  HandlerContext,
  Handlers,
  PreparedCheckpoint,
  ShardHook,
  ShardHooks,
} from '../src/index.ts'
import { ConsumerStage, F, type StagedWorker } from './consumer-stage.ts'
import { shardIdOf } from './modelled-kinesis.ts'

type HookName = keyof ShardHooks

const END = { sequenceNumber: 'SHARD_END', subSequenceNumber: 0 }

/** Handlers that note what they are called with, in order, and do then what the test says. */
class Script {
  /** Records by their text, hooks by name and number of the shard. */
  readonly history: string[] = []
  eachRecord: EachRecord<undefined> = () => undefined
  onShardStart: ShardHook = () => undefined
  onShardEnd: ShardHook = () => undefined
  onShardRelease: ShardHook = () => undefined
  onLeaseLost: ShardHook = () => undefined

  get handlers(): Handlers {
    const hook =
      (name: HookName): ShardHook =>
      (shard, context) => {
        this.history.push(`${name} ${Number(shard.shardId.slice(-12))}`)
        return this[name](shard, context)
      }
    return {
      eachRecord: (record, context) => {
        this.history.push(record.text())
        return this.eachRecord(record, context)
      },
      onShardStart: hook('onShardStart'),
      onShardEnd: hook('onShardEnd'),
      onShardRelease: hook('onShardRelease'),
      onLeaseLost: hook('onLeaseLost'),
    }
  }

  /** How often this was called. */
  count(what: string): number {
    return this.history.filter((each) => each === what).length
  }
}

/** Something that is over when the test says. */
function gate(): { readonly passed: Promise<void>; readonly open: () => void } {
  const { promise, resolve } = Promise.withResolvers<void>()
  return { passed: promise, open: resolve }
}

/** A key of the given one of a stream's equal shards. */
function keyIn(shard: number, shards = 2): string {
  for (let number = 0; ; number++) {
    if ((hashKeyOf(`key-${number}`) * BigInt(shards)) >> 128n === BigInt(shard)) return `key-${number}`
  }
}

const failure = (): never => {
  throw new Error('failed')
}
const at = ({ SequenceNumber }: { readonly SequenceNumber: string }, subSequenceNumber = 0): Position => ({
  sequenceNumber: SequenceNumber,
  subSequenceNumber,
})
const shardOf = ({ consumer }: StagedWorker, shard: number) =>
  consumer.status().shards.find(({ shardId }) => shardId === shardIdOf(shard))

/** A Kinesis record as the KPL's, whose table of keys has one of them twice. */
function aggregateWithDuplicateKeys(): Buffer {
  const field = (number: number, bytes: Uint8Array): Buffer =>
    Buffer.concat([Buffer.from([(number << 3) | 2, bytes.length]), bytes])
  const user = (keyIndex: number, text: string): Buffer =>
    field(3, Buffer.concat([Buffer.from([8, keyIndex]), field(3, Buffer.from(text))]))
  const key = field(1, Buffer.from('key'))
  const message = Buffer.concat([key, key, user(0, 'a'), user(1, 'b'), user(0, 'c')])
  return Buffer.concat([AGGREGATE_MAGIC, message, createHash('md5').update(message).digest()])
}

test('case 13: from a checkpoint inside an aggregate on, exactly what follows it there is delivered', async () => {
  const stage = new ConsumerStage()
  const aggregate = stage.kinesis.putAggregate('a', 'b', 'c', 'd', 'e')
  stage.kinesis.put('f')
  const first = new Script()
  first.eachRecord = (record) => (record.text() === 'd' ? new Promise(() => {}) : undefined)
  const worker = stage.start('first', first.handlers, { concurrency: 1, closeTimeout: 100 })
  await stage.until('the handler hangs', () => first.history.includes('d'))
  await stage.done(worker.consumer.close())
  expect(stage.lease(0).checkpoint).toEqual(at(aggregate, 2))

  const second = new Script()
  stage.start('second', second.handlers)
  await stage.clock.advance(3 * F)
  expect(second.history).toEqual(['onShardStart 0', 'd', 'e', 'f'])
})

describe('case 14', () => {
  test('records at or below the checkpoint do not come, and it moves to the last that was handled', async () => {
    const stage = new ConsumerStage()
    const first = stage.start('first', new Script().handlers)
    await stage.clock.advance(F)
    await stage.done(first.consumer.close())
    stage.kinesis.put('a')
    const b = stage.kinesis.put('b')
    stage.kinesis.put('c')
    const d = stage.kinesis.put('d')
    stage.change(0, { checkpoint: { S: b.SequenceNumber }, checkpointSubSequenceNumber: { N: '0' } })
    const script = new Script()
    stage.start('second', script.handlers)
    await stage.clock.advance(2 * F)
    expect(script.history).toEqual(['onShardStart 0', 'c', 'd'])
    expect(stage.lease(0).checkpoint).toEqual(at(d))
  })

  test('reads that bring nothing leave it where it is', async () => {
    const stage = new ConsumerStage()
    const a = stage.kinesis.put('a')
    stage.start('worker', new Script().handlers)
    await stage.clock.advance(F)
    const reads = stage.kinesis.count('GetRecords')
    await stage.clock.advance(10 * F)
    expect(stage.kinesis.count('GetRecords')).toBeGreaterThan(reads + 5)
    expect(stage.checkpointsOf(0)).toEqual([at(a)])
  })
})

test('case 15: an aggregate whose table has a key twice is delivered as one key', async () => {
  const stage = new ConsumerStage()
  stage.kinesis.model.execute('PutRecord', {
    StreamName: 'flights',
    PartitionKey: 'a',
    ExplicitHashKey: '0',
    Data: aggregateWithDuplicateKeys(),
  })
  const script = new Script()
  const keys: string[] = []
  let running = 0
  script.eachRecord = async (record) => {
    keys.push(record.partitionKey)
    expect(++running).toBe(1)
    await stage.clock.sleep(10)
    running--
  }
  stage.start('worker', script.handlers)
  await stage.clock.advance(F)
  expect(script.history).toEqual(['onShardStart 0', 'a', 'b', 'c'])
  expect(keys).toEqual(['key', 'key', 'key'])
})

describe('case 65', () => {
  test('onShardStart that fails is tried again, no record comes before it has succeeded, and it is not called once more', async () => {
    const stage = new ConsumerStage()
    stage.kinesis.put('a')
    const script = new Script()
    script.onShardStart = (_, { attempt }) => (attempt <= 3 ? Promise.reject(new Error('not yet')) : undefined)
    const worker = stage.start('worker', script.handlers)
    await stage.until('the record is handled', () => script.history.includes('a'))
    await stage.clock.advance(5 * F)
    expect(script.history).toEqual([...Array<string>(4).fill('onShardStart 0'), 'a'])
    expect(worker.told('hookFailed').map(({ attempt }) => attempt)).toEqual([1, 2, 3])
    expect(stage.lease(0).owner).toBe('worker')
  })

  test('one that fails for ever keeps its shard from being handled, and no other', async () => {
    const stage = new ConsumerStage(2)
    stage.kinesis.put('low', keyIn(0))
    stage.kinesis.put('high', keyIn(1))
    const script = new Script()
    script.onShardStart = ({ shardId }) => (shardId === shardIdOf(0) ? failure() : undefined)
    const worker = stage.start('worker', script.handlers)
    await stage.clock.advance(30 * F)
    expect(script.count('high')).toBe(1)
    expect(script.count('low')).toBe(0)
    expect(script.count('onShardStart 0')).toBeGreaterThan(3)
    expect(stage.checkpointsOf(0)).toEqual([])
    await stage.done(worker.consumer.close())
    // It never started: it has nothing to end.
    expect(script.count('onShardRelease 0')).toBe(0)
  })

  test('a child does not start before both of its parents are finished', async () => {
    const stage = new ConsumerStage(2)
    stage.kinesis.put('low', keyIn(0))
    stage.kinesis.merge(0, 1)
    stage.kinesis.put('child')
    const hold = gate()
    const script = new Script()
    script.eachRecord = (record) => (record.text() === 'low' ? hold.passed : undefined)
    const worker = stage.start('worker', script.handlers)
    await stage.until('a parent is finished', () => script.history.includes('onShardEnd 1'))
    await stage.clock.advance(10 * F)
    expect(script.history).not.toContain('onShardStart 2')
    expect(shardOf(worker, 2)).toMatchObject({ state: 'waiting', waitingFor: [shardIdOf(0)] })
    hold.open()
    await stage.clock.advance(3 * F)
    expect(script.history.slice(-3)).toEqual(['onShardEnd 0', 'onShardStart 2', 'child'])
  })

  test('nor while its parents can not be read', async () => {
    const stage = new ConsumerStage()
    stage.kinesis.resize(2)
    stage.kinesis.put('child')
    const first = new Script()
    const before = stage.start('first', first.handlers)
    await stage.until('the parent is finished', () => before.told('shardEnded').length > 0)
    await stage.done(before.consumer.close({ signal: AbortSignal.abort() }))
    let isDown = true
    const script = new Script()
    const worker = stage.start('second', script.handlers, {
      dynamodb: stage.dynamodb.client(({ operation, input }, execute) => {
        const { leaseKey } = (input.Key ?? {}) as { leaseKey?: { S: string } }
        if (isDown && operation === 'GetItem' && leaseKey?.S === shardIdOf(0)) throw new Error('no answer')
        return execute()
      }),
    })
    await stage.clock.advance(10 * F)
    expect(script.history).toEqual([])
    expect(worker.told('callFailed').length).toBeGreaterThan(0)
    isDown = false
    await stage.clock.advance(3 * F)
    expect(script.history.toSorted()).toEqual(['onShardStart 1', 'onShardStart 2'])
  })
})

test('case 66: a lease is lost while a handler runs: other shards go on, onLeaseLost comes after the handler, and its checkpoint is refused', async () => {
  const stage = new ConsumerStage(2)
  stage.kinesis.put('slow', keyIn(0))
  const hold = gate()
  const script = new Script()
  let context!: HandlerContext
  script.eachRecord = (record, given) => {
    if (record.text() !== 'slow') return undefined
    context = given
    return hold.passed
  }
  const worker = stage.start('worker', script.handlers, { checkpointing: 'manual' })
  await stage.until('the handler runs', () => script.history.includes('slow'))
  stage.take(0, 'thief')
  await stage.clock.advance(F / 2)
  expect(context.signal.reason).toMatchObject({ code: 'ERR_LEASE_LOST' })
  stage.kinesis.put('other', keyIn(1))
  await stage.clock.advance(F / 4)
  expect(script.history).toContain('other')
  expect(script.history).not.toContain('onLeaseLost 0')
  expect(() => context.checkpoint()).toThrow(expect.objectContaining({ code: 'ERR_LEASE_LOST' }))
  hold.open()
  await stage.clock.advance(10)
  expect(script.history.filter((each) => each.endsWith(' 0'))).toEqual(['onShardStart 0', 'onLeaseLost 0'])
  expect(worker.told('leaseLost')).toHaveLength(1)
  expect(stage.checkpointsOf(0)).toEqual([])
})

describe('case 67', () => {
  test('a lease that is lost while its shard ends is lost: nothing says that the shard is finished', async () => {
    const stage = new ConsumerStage()
    stage.kinesis.resize(2)
    const hold = gate()
    const script = new Script()
    script.onShardEnd = () => hold.passed
    stage.start('worker', script.handlers)
    await stage.until('the shard ends', () => script.history.includes('onShardEnd 0'))
    stage.take(0, 'thief')
    await stage.clock.advance(F / 2)
    hold.open()
    await stage.clock.advance(10)
    expect(script.history).toEqual(['onShardStart 0', 'onShardEnd 0', 'onLeaseLost 0'])
    expect(stage.checkpointsOf(0)).not.toContainEqual(END)
  })

  test('a lease that is lost while it is given back is lost', async () => {
    const stage = new ConsumerStage()
    const hold = gate()
    const script = new Script()
    script.onShardRelease = () => hold.passed
    const worker = stage.start('worker', script.handlers)
    await stage.until('it has started', () => script.history.includes('onShardStart 0'))
    const closed = worker.consumer.close()
    await stage.until('it is given back', () => script.history.includes('onShardRelease 0'))
    stage.take(0, 'thief')
    await stage.clock.advance(F / 2)
    hold.open()
    await stage.done(closed)
    expect(script.history).toEqual(['onShardStart 0', 'onShardRelease 0', 'onLeaseLost 0'])
    expect(stage.item(0)?.leaseOwner?.S).toBe('thief')
  })

  test('a shard that is ending when the consumer is closed is ended, not given back', async () => {
    const stage = new ConsumerStage()
    stage.kinesis.resize(2)
    const hold = gate()
    const script = new Script()
    script.onShardEnd = () => hold.passed
    const worker = stage.start('worker', script.handlers)
    await stage.until('the shard ends', () => script.history.includes('onShardEnd 0'))
    const closed = worker.consumer.close()
    await stage.clock.advance(F)
    hold.open()
    await stage.done(closed)
    expect(script.history).toEqual(['onShardStart 0', 'onShardEnd 0'])
    expect(stage.lease(0).checkpoint).toEqual(END)
  })
})

describe('case 68', () => {
  test('the last records of a shard are handled, then it ends, then its children start', async () => {
    const stage = new ConsumerStage()
    stage.kinesis.put('a')
    stage.kinesis.put('b')
    stage.kinesis.resize(2)
    const script = new Script()
    script.eachRecord = () => stage.clock.sleep(100)
    stage.start('worker', script.handlers)
    await stage.clock.advance(3 * F)
    expect(script.history.slice(0, 4)).toEqual(['onShardStart 0', 'a', 'b', 'onShardEnd 0'])
    expect(script.history.slice(4).toSorted()).toEqual(['onShardStart 1', 'onShardStart 2'])
  })

  test('an empty one ends at once', async () => {
    const stage = new ConsumerStage()
    stage.kinesis.resize(2)
    const script = new Script()
    stage.start('worker', script.handlers)
    await stage.clock.advance(3 * F)
    expect(script.history.slice(0, 2)).toEqual(['onShardStart 0', 'onShardEnd 0'])
    expect(stage.lease(0).checkpoint).toEqual(END)
  })
})

describe('case 69', () => {
  test('onShardEnd that fails is tried as often as a record; then the shard stops unfinished, and ends once the hook is mended', async () => {
    const stage = new ConsumerStage()
    stage.kinesis.put('a')
    stage.kinesis.resize(2)
    let isMended = false
    const script = new Script()
    script.onShardEnd = () => (isMended ? undefined : failure())
    const worker = stage.start('worker', script.handlers, { maxAttempts: 3, stoppedRetryMs: 10 * F })
    await stage.until('the shard stops', () => worker.told('shardStopped').length > 0)
    expect(script.history).toEqual(['onShardStart 0', 'a', ...Array<string>(3).fill('onShardEnd 0')])
    await stage.clock.advance(3 * F)
    expect(worker.consumer.status().healthy).toBe(false)
    expect(stage.lease(0).checkpoint).not.toEqual(END)
    expect(stage.item(1)).toBeUndefined()
    isMended = true
    expect(worker.told('shardResumed')).toEqual([])
    await stage.clock.advance(10 * F)
    expect(worker.told('shardResumed')).toMatchObject([{ shardId: stage.lease(0).shardId }])
    expect(stage.lease(0).checkpoint).toEqual(END)
    expect(worker.consumer.status().healthy).toBe(true)
    // Its last record was finished before: it doesn't come again.
    expect(script.count('a')).toBe(1)
    expect(script.count('onShardStart 0')).toBe(1)
  })

  test('nobody has to make a checkpoint there', async () => {
    for (const checkpointing of ['automatic', 'manual'] as const) {
      const stage = new ConsumerStage()
      stage.kinesis.put('a')
      stage.kinesis.resize(2)
      stage.start('worker', new Script().handlers, { checkpointing })
      await stage.clock.advance(2 * F)
      expect(stage.lease(0).checkpoint).toEqual(END)
    }
  })

  test('but where checkpoints are the handler’s own, run() wants the hook: the end is one that it must know of', async () => {
    const stage = new ConsumerStage()
    const worker = stage.start('worker', { eachRecord: () => undefined }, { checkpointing: 'manual' })
    await stage.until('it is over', () => worker.isOver)
    expect(worker.failure).toMatchObject({ code: 'ERR_STATE', message: expect.stringContaining('onShardEnd') })
  })
})

describe('case 70', () => {
  /** Five records of five keys, of which `c` fails as long as the test says. Checkpoints must stay below it for as long. */
  class Failing {
    readonly stage: ConsumerStage = new ConsumerStage()
    readonly script: Script = new Script()
    readonly places: ReadonlyMap<string, Position>
    isMended = false

    constructor() {
      this.places = new Map([...'abcde'].map((text) => [text, at(this.stage.kinesis.put(text))]))
      this.script.eachRecord = (record) => (record.text() === 'c' && !this.isMended ? failure() : undefined)
    }

    get checkpoint(): string | undefined {
      const { checkpoint } = this.stage.lease(0)
      return [...this.places].find(([, place]) => comparePositions(place, checkpoint) === 0)?.[0]
    }
  }

  test('a record that fails comes again with a growing pause, and others go on meanwhile; no checkpoint passes it', async () => {
    const { stage, script } = new Failing()
    const worker = stage.start('worker', script.handlers, { maxAttempts: 4 })
    await stage.until('the shard stops', () => worker.told('shardStopped').length > 0)
    expect(script.history).toEqual(['onShardStart 0', 'a', 'b', 'c', 'd', 'e', 'c', 'c', 'c'])
    // Half of 200 ms, doubled each time; then the policy decides.
    expect(worker.told('handlerFailed').map(({ retryInMs }) => retryInMs)).toEqual([100, 200, 400, undefined])
  })

  test('then by default its shard stops there, healthy is false, and it tries again later, longer each time', async () => {
    const failing = new Failing()
    const { stage, script } = failing
    const worker = stage.start('worker', script.handlers, { maxAttempts: 2, stoppedRetryMs: 10 * F })
    await stage.until('the shard stops', () => worker.told('shardStopped').length > 0)
    expect(failing.checkpoint).toBe('b')
    expect(worker.consumer.status()).toMatchObject({ healthy: false, live: true })
    expect(shardOf(worker, 0)).toMatchObject({ state: 'stopped', stopped: { attempts: 2 }, bufferedBytes: 0 })
    await stage.clock.advance(80 * F)
    const stops = worker.told('shardStopped')
    expect(stops.map(({ retryInMs }) => retryInMs)).toEqual([10 * F, 20 * F, 40 * F, 80 * F])
    expect(stops.map(({ attempts }) => attempts)).toEqual([2, 3, 4, 5])
    expect([failing.checkpoint, stage.lease(0).owner]).toEqual(['b', 'worker'])
    failing.isMended = true
    await stage.clock.advance(80 * F)
    expect(worker.consumer.status().healthy).toBe(true)
    // What was finished beyond it was finished.
    expect([script.count('d'), script.count('e'), failing.checkpoint]).toEqual([1, 1, 'e'])
  })

  test.each(['stop', 'deadLetter', 'skip'] as const)(
    'a value that the codec refuses goes the same way, at once: %s',
    async (failurePolicy) => {
      const stage = new ConsumerStage()
      for (const text of ['1', 'x', '2']) stage.kinesis.put(text, 'key')
      const got: unknown[] = []
      const letters: DeadLetter[] = []
      const codec = { decode: (data: Uint8Array): unknown => JSON.parse(Buffer.from(data).toString()) }
      const deadLetter = (letter: DeadLetter): unknown => letters.push(letter)
      const worker = stage.start('worker', { eachRecord: ({ value }: ConsumerRecord) => void got.push(value) }, {
        codec,
        failurePolicy,
        ...(failurePolicy === 'deadLetter' && { deadLetter }),
      } as never)
      await stage.clock.advance(3 * F)
      const isStop = failurePolicy === 'stop'
      expect(got).toEqual(isStop ? [1] : [1, 2])
      expect(worker.told('shardStopped').map(({ attempts }) => attempts)).toEqual(isStop ? [1] : [])
      expect(letters).toMatchObject(
        failurePolicy === 'deadLetter' ? [{ kind: 'record', attempts: 1, partitionKey: 'key' }] : [],
      )
      expect(worker.told('recordSkipped')).toHaveLength(failurePolicy === 'skip' ? 1 : 0)
      expect(worker.consumer.status().healthy).toBe(!isStop)
    },
  )

  test('or the consumer ends with what the handler threw, after it has given back its leases', async () => {
    const failing = new Failing()
    const worker = failing.stage.start('worker', failing.script.handlers, { maxAttempts: 2, onStop: 'exit' })
    await failing.stage.until('it is over', () => worker.isOver)
    expect(worker.failure).toMatchObject({ code: 'ERR_STOPPED', cause: { message: 'failed' } })
    expect([failing.checkpoint, failing.stage.lease(0).owner]).toEqual(['b', undefined])
  })

  test('or it is skipped, which is told', async () => {
    const failing = new Failing()
    const worker = failing.stage.start('worker', failing.script.handlers, { maxAttempts: 2, failurePolicy: 'skip' })
    await failing.stage.clock.advance(3 * F)
    expect(worker.told('recordSkipped')).toMatchObject([{ partitionKey: 'c', attempts: 2 }])
    expect(failing.checkpoint).toBe('e')
    expect(failing.stage.checkpointsOf(0)).not.toContainEqual(failing.places.get('c'))
  })

  test('or it becomes a dead letter; while that fails, the record waits and nothing passes it', async () => {
    const failing = new Failing()
    const { stage } = failing
    const letters: DeadLetter[] = []
    let isDown = true
    const worker = stage.start('worker', failing.script.handlers, {
      maxAttempts: 2,
      deadLetter: (letter) => {
        if (isDown) throw new Error('down')
        letters.push(letter)
      },
    })
    await stage.clock.advance(60 * F)
    expect(worker.told('deadLetterFailed').length).toBeGreaterThan(3)
    expect(failing.checkpoint).toBe('b')
    expect(worker.consumer.status().healthy).toBe(true)
    isDown = false
    await stage.clock.advance(60 * F)
    expect(letters).toMatchObject([
      {
        kind: 'record',
        partitionKey: 'c',
        attempts: 2,
        error: { message: 'failed' },
        origin: {
          application: 'billing',
          worker: 'worker',
          stream: 'flights',
          shardId: shardIdOf(0),
          ...failing.places.get('c'),
        },
      },
    ])
    expect(failing.checkpoint).toBe('e')
  })

  test('of a batch, only the record that it fails for is given up', async () => {
    const failing = new Failing()
    const batches: string[] = []
    const worker = failing.stage.start(
      'worker',
      {
        eachBatch: (records) => {
          const texts = records.map((record) => record.text()).join('')
          batches.push(texts)
          if (texts.includes('c')) failure()
        },
      },
      { failurePolicy: 'skip', maxAttempts: 3 },
    )
    await failing.stage.clock.advance(20 * F)
    // Whole, and once more; then in parts.
    expect(batches.slice(0, 2)).toEqual(['abcde', 'abcde'])
    expect(batches.filter((texts) => texts === 'c')).toHaveLength(3)
    expect(
      batches
        .filter((texts) => !texts.includes('c'))
        .join('')
        .split('')
        .toSorted()
        .join(''),
    ).toBe('abde')
    expect(worker.told('recordSkipped')).toMatchObject([{ partitionKey: 'c', attempts: 3 }])
    expect(failing.checkpoint).toBe('e')
    expect(failing.stage.checkpointsOf(0)).not.toContainEqual(failing.places.get('c'))
  })

  test('an aggregate that is damaged inside goes the same way', async () => {
    const stage = new ConsumerStage()
    stage.kinesis.put('a')
    const message = Buffer.from([0x1a, 0x7f, 0x08])
    stage.kinesis.model.execute('PutRecord', {
      StreamName: 'flights',
      PartitionKey: 'damaged',
      Data: Buffer.concat([AGGREGATE_MAGIC, message, createHash('md5').update(message).digest(), Buffer.alloc(0)]),
    })
    const last = stage.kinesis.put('b')
    const letters: DeadLetter[] = []
    const script = new Script()
    stage.start('worker', script.handlers, { deadLetter: (letter) => letters.push(letter) })
    await stage.clock.advance(3 * F)
    expect(letters).toMatchObject([{ kind: 'undecodable', partitionKey: 'damaged' }])
    expect(script.history).toEqual(['onShardStart 0', 'a', 'b'])
    expect(stage.lease(0).checkpoint).toEqual(at(last))
  })
})

describe('case 77', () => {
  const PENDING = ['pendingCheckpoint', 'pendingCheckpointSubSequenceNumber', 'pendingCheckpointState']
  const note = Buffer.from('half done')
  const pendingIn = (stage: ConsumerStage): string[] =>
    Object.keys(stage.item(0) ?? {}).filter((name) => PENDING.includes(name))

  test('a checkpoint that was prepared and not made is seen by who takes over from a crashed worker', async () => {
    const stage = new ConsumerStage()
    const a = stage.kinesis.putAggregate('a', 'b', 'c')
    const first = new Script()
    first.eachRecord = async (record, context) => {
      if (record.text() === 'a') context.checkpoint()
      if (record.text() !== 'b') return
      await context.prepareCheckpoint(record, note)
      worker.sever()
      await new Promise(() => {})
    }
    const worker: StagedWorker = stage.start('first', first.handlers, { checkpointing: 'manual', concurrency: 1 })
    await stage.clock.advance(F)
    const second = new Script()
    const seen: unknown[] = []
    second.onShardStart = ({ checkpoint, pendingCheckpoint }) => {
      seen.push({ checkpoint, pendingCheckpoint })
    }
    stage.start('second', second.handlers, { checkpointing: 'manual' })
    await stage.until('it has taken over', () => second.history.includes('c'))
    expect(seen).toEqual([{ checkpoint: at(a, 0), pendingCheckpoint: { ...at(a, 1), state: new Uint8Array(note) } }])
    expect(second.history).toEqual(['onShardStart 0', 'b', 'c'])
  })

  test('making it clears what was announced', async () => {
    const stage = new ConsumerStage()
    const a = stage.kinesis.put('a')
    const script = new Script()
    let prepared!: PreparedCheckpoint
    script.eachRecord = async (record, context) => {
      prepared = await context.prepareCheckpoint(record, note)
    }
    stage.start('worker', script.handlers, { checkpointing: 'manual' })
    await stage.clock.advance(F)
    expect(pendingIn(stage)).toEqual(expect.arrayContaining(PENDING))
    expect(stage.checkpointsOf(0)).toEqual([])
    prepared.commit()
    await stage.clock.advance(F)
    expect(stage.lease(0).checkpoint).toEqual(at(a))
    expect(pendingIn(stage)).toEqual([])
  })

  test('one below the last checkpoint changes nothing any more', async () => {
    const stage = new ConsumerStage()
    stage.kinesis.put('a')
    const b = stage.kinesis.put('b')
    const script = new Script()
    const prepared: PreparedCheckpoint[] = []
    script.eachRecord = async (record, context) => {
      prepared.push(await context.prepareCheckpoint(record))
    }
    stage.start('worker', script.handlers, { checkpointing: 'manual', ordering: 'shard' })
    await stage.until('both are prepared', () => prepared.length === 2)
    await stage.clock.advance(F)
    prepared[1]!.commit()
    await stage.clock.advance(F)
    prepared[0]!.commit()
    await stage.clock.advance(F)
    expect(stage.checkpointsOf(0)).toEqual([at(b)])
  })
})

describe('case 78', () => {
  test('a checkpoint beyond what was delivered is refused, and so is one of another shard', async () => {
    const stage = new ConsumerStage()
    const a = stage.kinesis.put('a')
    const script = new Script()
    const refused: unknown[] = []
    script.eachRecord = (record, context) => {
      const beyond = { ...record, sequenceNumber: String(BigInt(record.sequenceNumber) + 1n) } as ConsumerRecord
      const elsewhere = { ...record, shardId: shardIdOf(7) } as ConsumerRecord
      for (const given of [beyond, elsewhere]) {
        try {
          context.checkpoint(given)
        } catch (error) {
          refused.push(error)
        }
      }
      context.checkpoint(record)
    }
    stage.start('worker', script.handlers, { checkpointing: 'manual' })
    await stage.clock.advance(F)
    expect(refused).toMatchObject([{ code: 'ERR_CHECKPOINT' }, { code: 'ERR_CHECKPOINT' }])
    expect(stage.checkpointsOf(0)).toEqual([at(a)])
  })

  test('one that covers unfinished records waits for them, and one below the last changes nothing', async () => {
    const stage = new ConsumerStage()
    const [a, b] = ['a', 'b', 'c'].map((text) => at(stage.kinesis.put(text)))
    const hold = gate()
    const script = new Script()
    const records: ConsumerRecord[] = []
    script.eachRecord = (record, context) => {
      records.push(record)
      if (record.text() === 'a') return hold.passed
      if (record.text() === 'b') context.checkpoint()
      // The first is below what was named already.
      if (record.text() === 'c') context.checkpoint(records[0])
      return undefined
    }
    stage.start('worker', script.handlers, { checkpointing: 'manual' })
    await stage.clock.advance(F)
    expect(script.history).toEqual(['onShardStart 0', 'a', 'b', 'c'])
    expect(stage.checkpointsOf(0)).toEqual([])
    hold.open()
    await stage.clock.advance(F)
    expect(a).toBeDefined()
    expect(stage.checkpointsOf(0)).toEqual([b])
  })

  test('the same once more is no write of its own', async () => {
    const stage = new ConsumerStage()
    stage.kinesis.put('a')
    const script = new Script()
    let again!: () => void
    script.eachRecord = (_, context) => {
      again = () => context.checkpoint()
      again()
    }
    stage.start('worker', script.handlers, { checkpointing: 'manual' })
    await stage.clock.advance(F)
    const writes = (): number =>
      stage.dynamodb.calls.filter(
        ({ operation, input }) => operation === 'UpdateItem' && JSON.stringify(input.Key).includes('shardId'),
      ).length
    const before = writes()
    await stage.clock.advance(9 * F)
    const renewals = writes() - before
    for (let moment = 0; moment < 9; moment++) {
      again()
      await stage.clock.advance(F)
    }
    expect(writes() - before).toBe(2 * renewals)
    expect(stage.checkpointsOf(0)).toHaveLength(1)
  })

  test('at the end of a shard it is the shard that is finished', async () => {
    const stage = new ConsumerStage()
    const a = stage.kinesis.put('a')
    stage.kinesis.resize(2)
    const script = new Script()
    script.eachRecord = (record, context) => context.checkpoint(record)
    stage.start('worker', script.handlers, { checkpointing: 'manual' })
    await stage.clock.advance(2 * F)
    const written = stage.checkpointsOf(0)
    expect(written.at(-1)).toEqual(END)
    expect(written.slice(0, -1).every((checkpoint) => comparePositions(checkpoint, at(a)) === 0)).toBe(true)
  })
})

describe('case 79', () => {
  test('on a stop each shard is told once, what is in hand is finished, and the leases are given back', async () => {
    const stage = new ConsumerStage(3)
    const last = [0, 1, 2].map((shard) => at(stage.kinesis.put(`record ${shard}`, keyIn(shard, 3))))
    const script = new Script()
    script.eachRecord = () => stage.clock.sleep(F)
    const worker = stage.start('worker', script.handlers)
    await stage.until('all run', () => [0, 1, 2].every((shard) => script.history.includes(`record ${shard}`)))
    await stage.done(worker.consumer.close())
    for (const [shard, checkpoint] of last.entries()) {
      expect(script.history.filter((each) => each.endsWith(` ${shard}`))).toEqual([
        `onShardStart ${shard}`,
        `record ${shard}`,
        `onShardRelease ${shard}`,
      ])
      expect(stage.lease(shard)).toMatchObject({ owner: undefined, checkpoint })
    }
    expect(worker).toMatchObject({ isOver: true, failure: undefined })
  })

  test('handlers and hooks that hang do not keep it: it ends in time, and what they had is the next worker’s', async () => {
    const stage = new ConsumerStage(2)
    stage.kinesis.put('stuck', keyIn(0))
    const script = new Script()
    script.eachRecord = () => new Promise(() => {})
    script.onShardRelease = () => new Promise(() => {})
    const worker = stage.start('worker', script.handlers, { closeTimeout: 3 * F })
    await stage.until('it hangs', () => script.history.includes('stuck'))
    const startedMs = stage.clock.monotonicMs()
    await stage.done(worker.consumer.close())
    expect(stage.clock.monotonicMs() - startedMs).toBeLessThan(4 * F)
    expect([stage.lease(0).owner, stage.lease(1).owner]).toEqual([undefined, undefined])
    const next = new Script()
    stage.start('next', next.handlers)
    await stage.clock.advance(F)
    expect(next.history).toContain('stuck')
  })

  test('nor does a lease that is lost meanwhile', async () => {
    const stage = new ConsumerStage(2)
    stage.kinesis.put('slow', keyIn(0))
    const script = new Script()
    script.eachRecord = (_, { signal }) => new Promise((_resolve, reject) => signal.addEventListener('abort', reject))
    const worker = stage.start('worker', script.handlers, { closeTimeout: 60 * F })
    await stage.until('it runs', () => script.history.includes('slow'))
    const closed = worker.consumer.close()
    await stage.clock.advance(10)
    stage.take(0, 'thief')
    const startedMs = stage.clock.monotonicMs()
    await stage.done(closed)
    expect(stage.clock.monotonicMs() - startedMs).toBeLessThan(2 * F)
    expect(script.history.filter((each) => each.endsWith(' 0'))).toEqual(['onShardStart 0', 'onLeaseLost 0'])
    expect(stage.item(0)?.leaseOwner?.S).toBe('thief')
    expect(stage.lease(1).owner).toBeUndefined()
  })
})
