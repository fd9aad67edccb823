import { findHoles, findOverlaps, MAX_HASH_KEY } from '@shardwise/records'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { pull, World } from '../test/model-world.ts'
import { KinesisModel } from './kinesis-model.ts'
import { OPERATIONS } from './operations.ts'
import type { Request } from './requests.ts'
import { ServiceError } from './service-error.ts'
import type { Shard } from './shard.ts'
import type { Stream } from './stream.ts'

type Step =
  | { readonly kind: 'put'; readonly key: bigint }
  | { readonly kind: 'split' | 'merge'; readonly pick: number }
  | { readonly kind: 'resize'; readonly count: number }

const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    { weight: 6, arbitrary: fc.record({ kind: fc.constant('put' as const), key: fc.bigInt(0n, MAX_HASH_KEY) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom('split' as const, 'merge' as const), pick: fc.nat() }) },
    {
      weight: 1,
      arbitrary: fc.record({ kind: fc.constant('resize' as const), count: fc.integer({ min: 1, max: 9 }) }),
    },
  ),
  { maxLength: 60 },
)

function take(model: KinesisModel, stream: Stream, step: Step, number: number): void {
  const { openShards } = stream
  if (step.kind === 'put') {
    model.execute('PutRecord', {
      StreamName: 's',
      PartitionKey: `${number}`,
      ExplicitHashKey: step.key.toString(),
      Data: Buffer.alloc(1),
    })
  } else if (step.kind === 'resize') {
    stream.resize(step.count, number)
  } else if (step.kind === 'split') {
    const shard = openShards[step.pick % openShards.length]!
    stream.split(shard, (shard.hashRange.start + shard.hashRange.end + 1n) / 2n, number)
  } else if (openShards.length > 1) {
    const at = step.pick % (openShards.length - 1)
    stream.merge(openShards[at]!, openShards[at + 1]!, number)
  }
}

/** Reads a shard after its parents and before its children, as a consumer does. */
function readAll(model: KinesisModel, stream: Stream): Map<Shard, string[]> {
  const read = new Map<Shard, string[]>()
  for (const shard of stream.shards) {
    for (const { id } of shard.parents) expect(read.has(stream.family.byId(id)!)).toBe(true)
    let iterator: string | undefined = (
      model.execute('GetShardIterator', {
        StreamName: 's',
        ShardId: shard.id,
        ShardIteratorType: 'TRIM_HORIZON',
      }) as { ShardIterator: string }
    ).ShardIterator
    const numbers: string[] = []
    for (let left = shard.log.length; iterator !== undefined && left >= 0; left--) {
      const answer = model.execute('GetRecords', { ShardIterator: iterator, Limit: 1 }) as {
        Records: { SequenceNumber: string }[]
        NextShardIterator?: string
      }
      for (const { SequenceNumber } of answer.Records) numbers.push(SequenceNumber)
      iterator = answer.NextShardIterator
    }
    expect(iterator === undefined).toBe(!shard.isOpen)
    read.set(shard, numbers)
  }
  return read
}

test('whatever is put and resharded, open shards tile the range, every record is read once, and numbers grow from parent to child', () => {
  fc.assert(
    fc.property(steps, (taken) => {
      let now = 0
      const clock = { wallMs: () => now, monotonicMs: () => now }
      const model = new KinesisModel({ clock, limits: false, retentionBytes: 2 ** 30 })
      model.execute('CreateStream', { StreamName: 's', ShardCount: 2 })
      const stream = model.streamNamed('s')
      for (const step of taken) take(model, stream, step, now++)

      const ranges = stream.openShards.map(({ hashRange }) => hashRange)
      expect([findHoles(ranges), findOverlaps(ranges)]).toEqual([[], []])

      const read = readAll(model, stream)
      expect([...read.values()].flat().length).toBe(taken.filter(({ kind }) => kind === 'put').length)
      for (const [shard, numbers] of read) {
        const bounds = [shard.startingSequenceNumber, ...numbers]
        if (shard.endingSequenceNumber !== undefined) bounds.push(shard.endingSequenceNumber)
        for (let index = 1; index < bounds.length; index++) expect(bounds[index]! > bounds[index - 1]!).toBe(true)
        for (const parent of shard.parents) {
          const end = stream.family.byId(parent.id)?.endingSequenceNumber ?? '9'
          expect(shard.startingSequenceNumber > end).toBe(true)
        }
      }
    }),
    { numRuns: 300 },
  )
})

type Moment =
  | { readonly kind: 'put'; readonly bytes: number }
  | { readonly kind: 'pass'; readonly ms: number }
  | { readonly kind: 'break' | 'split' }

const moments: fc.Arbitrary<Moment[]> = fc.array(
  fc.oneof(
    { weight: 8, arbitrary: fc.record({ kind: fc.constant('put' as const), bytes: fc.nat(900_000) }) },
    {
      weight: 4,
      arbitrary: fc.record({ kind: fc.constant('pass' as const), ms: fc.integer({ min: 1, max: 200_000 }) }),
    },
    { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom('break' as const, 'split' as const) }) },
  ),
  { maxLength: 60 },
)

/** One who subscribes again, where the last event said, whenever the subscription is over. */
class Subscriber {
  readonly numbers: string[] = []
  ended = false
  readonly #world: World
  readonly #arn: string
  readonly #goOn: string
  #position: Request = { Type: 'TRIM_HORIZON' }
  #subscription: ReturnType<World['subscribe']> | undefined

  constructor(world: World, goOn: string) {
    this.#world = world
    this.#arn = world.register()
    this.#goOn = goOn
  }

  read(): void {
    if (this.ended) return
    if (this.#subscription === undefined || this.#subscription.ended) {
      try {
        this.#subscription = this.#world.subscribe(this.#arn, this.#position)
      } catch (error) {
        if (error instanceof ServiceError && error.type !== 'InvalidArgumentException') return
        throw error
      }
    }
    for (const event of pull(this.#subscription)) {
      for (const { SequenceNumber } of event.Records) this.numbers.push(SequenceNumber)
      this.#position = { Type: this.#goOn, SequenceNumber: event.ContinuationSequenceNumber }
      this.ended = event.ChildShards !== undefined
    }
  }

  break(): void {
    this.#subscription?.close()
  }
}

test('a subscriber that goes on where its last event said gets every record of the shard once and in order', () => {
  const goOn = fc.constantFrom('AT_SEQUENCE_NUMBER', 'AFTER_SEQUENCE_NUMBER')
  fc.assert(
    fc.property(moments, fc.boolean(), goOn, fc.nat(5_000), (taken, limits, goOn, reshardMs) => {
      const world = new World({ limits, reshardMs })
      const subscriber = new Subscriber(world, goOn)
      const stream = world.model.streamNamed('s')
      const [shard] = stream.shards
      for (const moment of taken) {
        if (moment.kind === 'put') stream.put(stream.shardFor(0n), 'k', Buffer.alloc(moment.bytes), world.wallMs)
        else if (moment.kind === 'pass') world.pass(moment.ms)
        else if (moment.kind === 'break') subscriber.break()
        else if (shard?.isOpen && world.status() === 'ACTIVE') world.split(shard.id)
        subscriber.read()
      }
      for (let round = 0; round < 60; round++) {
        world.pass(10_000)
        subscriber.read()
      }
      const stored = Array.from({ length: shard!.log.length }, (_, index) => shard!.log.at(index)!.sequenceNumber)
      expect(subscriber.numbers).toEqual(stored)
      expect(subscriber.ended).toBe(!shard!.isOpen)
    }),
    { numRuns: 150 },
  )
})

const FIELDS = [
  ...['StreamName', 'StreamARN', 'ConsumerARN', 'ResourceARN', 'ConsumerName', 'ShardId', 'ShardIterator', 'NextToken'],
  ...['Records', 'PartitionKey', 'ExplicitHashKey', 'Data', 'ShardIteratorType', 'StartingSequenceNumber', 'Timestamp'],
  ...['ShardFilter', 'StartingPosition', 'ShardToSplit', 'NewStartingHashKey', 'ShardToMerge', 'AdjacentShardToMerge'],
  ...['TargetShardCount', 'ScalingType', 'Tags', 'TagKeys', 'StreamModeDetails', 'RetentionPeriodHours', 'Limit'],
  ...['MaxRecordSizeInKiB', 'ShardLevelMetrics', 'EncryptionType', 'KeyId', 'Policy', 'DryRun', 'MaxResults'],
]

test('whatever a request holds, it is answered or refused as the service does', () => {
  const value = fc.oneof(
    fc.constantFrom<unknown>('s', 'arn:aws:kinesis:us-east-1:000000000000:stream/s', 'c', 'TRIM_HORIZON', 'ALL', 'KMS'),
    fc.constantFrom<unknown>('shardId-000000000000', 'UNIFORM_SCALING', new Date(0), new Date(Number.NaN), null),
    fc.constantFrom<unknown>('arn:aws:kinesis:us-east-1:000000000000:stream/s/consumer/c:1767225600'),
    fc.constantFrom<unknown>({ Type: 'LATEST' }, { StreamMode: 'ON_DEMAND' }, [{ PartitionKey: 5, Data: 5 }], ['ALL']),
    fc.uint8Array({ maxLength: 3 }),
    fc.anything({ maxDepth: 2 }),
  )
  const operation = fc.constantFrom(...OPERATIONS.keys(), 'SubscribeToShard')
  fc.assert(
    fc.property(operation, fc.dictionary(fc.constantFrom(...FIELDS), value, { maxKeys: 8 }), (operation, fields) => {
      const world = new World()
      world.register()
      world.model.faults.add({ fault: 'delay', delayMs: 1, shardId: 'shardId-000000000000' })
      const request = { StreamName: 's', ...fields }
      if (operation !== 'SubscribeToShard') {
        expect(world.model.request(operation, request).answer).toBeInstanceOf(Object)
        return
      }
      try {
        pull(world.model.subscribe(request))
      } catch (error) {
        expect(error).toBeInstanceOf(ServiceError)
      }
    }),
    { numRuns: 1_500 },
  )
})
