import { findHoles, findOverlaps, MAX_HASH_KEY } from '@shardwise/records'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { KinesisModel } from './kinesis-model.ts'
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
    for (const parent of shard.parents) expect(read.has(parent)).toBe(true)
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
      const model = new KinesisModel({ clock: { wallMs: () => now }, limits: false, retentionBytes: 2 ** 30 })
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
          expect(shard.startingSequenceNumber > (parent.endingSequenceNumber ?? '9')).toBe(true)
        }
      }
    }),
    { numRuns: 300 },
  )
})
