import type { GetRecordsOutput } from '@aws-sdk/client-kinesis'
import { expect } from 'vitest'
import type { Case } from '../case.ts'
import { expectAbout, refusal } from '../stage.ts'

const HALF = String(2n ** 127n)
const LAST = String(2n ** 128n - 1n)
const FIRST_SHARD = 'shardId-000000000000'

export const reshards: readonly Case[] = [
  {
    name: 'a split closes the shard and opens two children that share its range',
    run: async (stage) => {
      const { name } = await stage.stream()
      await stage.split(name)
      const [parent, ...children] = await stage.shards(name)
      expect(parent!.SequenceNumberRange!.EndingSequenceNumber).toMatch(/^[1-9]\d*$/)
      expect(children).toMatchObject([
        {
          ShardId: 'shardId-000000000001',
          ParentShardId: FIRST_SHARD,
          HashKeyRange: { StartingHashKey: '0', EndingHashKey: String(2n ** 127n - 1n) },
        },
        {
          ShardId: 'shardId-000000000002',
          ParentShardId: FIRST_SHARD,
          HashKeyRange: { StartingHashKey: HALF, EndingHashKey: LAST },
        },
      ])
      for (const { AdjacentParentShardId, SequenceNumberRange: range } of children) {
        expect(AdjacentParentShardId).toBeUndefined()
        expect(range!.EndingSequenceNumber).toBeUndefined()
        expect(BigInt(range!.StartingSequenceNumber!)).toBeGreaterThan(
          BigInt(parent!.SequenceNumberRange!.StartingSequenceNumber!),
        )
      }
      expect((await stage.untilActive(name)).OpenShardCount).toBe(2)
    },
  },
  {
    name: 'a merge closes both shards and opens one with two parents',
    run: async (stage) => {
      const { name } = await stage.stream(2)
      await stage.merge(name, 0, 1)
      const [low, high, child] = await stage.shards(name)
      expect(low!.SequenceNumberRange!.EndingSequenceNumber).toMatch(/^[1-9]\d*$/)
      expect(high!.SequenceNumberRange!.EndingSequenceNumber).toMatch(/^[1-9]\d*$/)
      expect(child).toMatchObject({
        ShardId: 'shardId-000000000002',
        ParentShardId: low!.ShardId,
        AdjacentParentShardId: high!.ShardId,
        HashKeyRange: { StartingHashKey: '0', EndingHashKey: LAST },
      })
      expect((await stage.untilActive(name)).OpenShardCount).toBe(1)
    },
  },
  {
    name: 'records put after a split go to the children, by their hash keys, with greater sequence numbers',
    run: async (stage) => {
      const { name } = await stage.stream()
      const before = await stage.put(name, 'before')
      await stage.split(name)
      const low = await stage.put(name, 'low', '0')
      const high = await stage.put(name, 'high', HALF)
      expect([before.id, low.id, high.id]).toEqual([FIRST_SHARD, 'shardId-000000000001', 'shardId-000000000002'])
      expect(BigInt(low.number)).toBeGreaterThan(BigInt(before.number))
    },
  },
  {
    name: 'the ending sequence number of a closed shard is above those of its records and below those of its children',
    run: async (stage) => {
      const { name } = await stage.stream()
      const before = await stage.put(name, 'before')
      await stage.split(name)
      const [parent] = await stage.shards(name)
      const after = await stage.put(name, 'after')
      const ending = BigInt(parent!.SequenceNumberRange!.EndingSequenceNumber!)
      expect(ending).toBeGreaterThan(BigInt(before.number))
      expect(ending).toBeLessThan(BigInt(after.number))
    },
  },
  {
    name: 'a split shard is read to its end, which names the children and gives no further iterator',
    run: async (stage) => {
      const { name } = await stage.stream()
      await stage.put(name, 'kept')
      await stage.split(name)
      let ShardIterator: string | undefined = await stage.iterator(name, 'TRIM_HORIZON')
      const texts: string[] = []
      for (let calls = 0; calls < 5; calls++) {
        const answer: GetRecordsOutput = await stage.kinesis.getRecords({ ShardIterator })
        texts.push(...answer.Records!.map(({ Data }) => Buffer.from(Data!).toString()))
        ShardIterator = answer.NextShardIterator
        if (ShardIterator !== undefined) {
          expect(answer.ChildShards ?? []).toEqual([])
          continue
        }
        const children = [...answer.ChildShards!].sort((a, b) => (a.ShardId! < b.ShardId! ? -1 : 1))
        expect(children).toEqual([
          {
            ShardId: 'shardId-000000000001',
            ParentShards: [FIRST_SHARD],
            HashKeyRange: { StartingHashKey: '0', EndingHashKey: String(2n ** 127n - 1n) },
          },
          {
            ShardId: 'shardId-000000000002',
            ParentShards: [FIRST_SHARD],
            HashKeyRange: { StartingHashKey: HALF, EndingHashKey: LAST },
          },
        ])
        break
      }
      expect(ShardIterator).toBeUndefined()
      expect(texts).toEqual(['kept'])
    },
  },
  {
    name: 'both parents of a merge end in the same child, which names them both',
    run: async (stage) => {
      const { name } = await stage.stream(2)
      await stage.merge(name, 0, 1)
      for (const shardId of [FIRST_SHARD, 'shardId-000000000001']) {
        const ShardIterator = await stage.iterator(name, 'TRIM_HORIZON', { shardId })
        const { ChildShards, NextShardIterator } = await stage.kinesis.getRecords({ ShardIterator })
        expect(NextShardIterator).toBeUndefined()
        expect(ChildShards!.length).toBe(1)
        expect(ChildShards![0]!.ShardId).toBe('shardId-000000000002')
        expect([...ChildShards![0]!.ParentShards!].sort()).toEqual([FIRST_SHARD, 'shardId-000000000001'])
      }
    },
  },
  {
    name: 'LATEST on a closed shard is at its end',
    run: async (stage) => {
      const { name } = await stage.stream()
      await stage.put(name, 'old')
      await stage.split(name)
      const { records, next } = await stage.read(await stage.iterator(name, 'LATEST'), 1)
      expect(records).toEqual([])
      expect(next).toBeUndefined()
    },
  },
  {
    name: 'a split at the first or last hash key of a shard is refused with InvalidArgumentException',
    run: async (stage) => {
      const { name: StreamName } = await stage.stream()
      const split = (NewStartingHashKey: string): Promise<string> =>
        refusal(stage.kinesis.splitShard({ StreamName, ShardToSplit: FIRST_SHARD, NewStartingHashKey }))
      expect([await split('0'), await split(LAST)]).toEqual(['InvalidArgumentException', 'InvalidArgumentException'])
      expect((await stage.shards(StreamName)).length).toBe(1)
    },
  },
  {
    name: 'a merge that names the upper neighbour first is refused with InvalidArgumentException',
    run: async (stage) => {
      const { name: StreamName } = await stage.stream(2)
      const ids = { ShardToMerge: 'shardId-000000000001', AdjacentShardToMerge: FIRST_SHARD }
      expect(await refusal(stage.kinesis.mergeShards({ StreamName, ...ids }))).toBe('InvalidArgumentException')
    },
  },
  {
    name: 'a merge of shards that are not neighbours is refused with InvalidArgumentException',
    run: async (stage) => {
      const { name: StreamName } = await stage.stream(3)
      const ids = { ShardToMerge: FIRST_SHARD, AdjacentShardToMerge: 'shardId-000000000002' }
      expect(await refusal(stage.kinesis.mergeShards({ StreamName, ...ids }))).toBe('InvalidArgumentException')
    },
  },
  {
    name: 'a shard that is closed is not split again',
    run: async (stage) => {
      const { name: StreamName } = await stage.stream()
      await stage.split(StreamName)
      const split = { StreamName, ShardToSplit: FIRST_SHARD, NewStartingHashKey: HALF }
      expect(await refusal(stage.kinesis.splitShard(split))).toMatch(
        /^(ResourceInUseException|InvalidArgumentException)$/,
      )
      expect((await stage.shards(StreamName)).length).toBe(3)
    },
  },
  {
    name: 'a shard that does not exist is not split, with ResourceNotFoundException',
    run: async (stage) => {
      const { name: StreamName } = await stage.stream()
      const split = { StreamName, ShardToSplit: 'shardId-000000000007', NewStartingHashKey: HALF }
      expect(await refusal(stage.kinesis.splitShard(split))).toBe('ResourceNotFoundException')
    },
  },
  {
    name: 'UpdateShardCount doubles and halves the open shards, evenly',
    run: async (stage) => {
      const { name: StreamName } = await stage.stream(2)
      const resize = async (TargetShardCount: number): Promise<void> => {
        const answer = await stage.kinesis.updateShardCount({
          StreamName,
          TargetShardCount,
          ScalingType: 'UNIFORM_SCALING',
        })
        expect(answer.TargetShardCount).toBe(TargetShardCount)
        expect((await stage.untilActive(StreamName)).OpenShardCount).toBe(TargetShardCount)
        const { Shards } = await stage.kinesis.listShards({ StreamName, ShardFilter: { Type: 'AT_LATEST' } })
        const sizes = Shards!.map(
          ({ HashKeyRange: range }) => BigInt(range!.EndingHashKey!) - BigInt(range!.StartingHashKey!) + 1n,
        )
        for (const size of sizes) expectAbout(size, 2n ** 128n / BigInt(TargetShardCount))
      }
      await resize(4)
      await resize(2)
    },
  },
  {
    name: 'UpdateShardCount tells the number of shards before',
    run: async (stage) => {
      const { name: StreamName } = await stage.stream(2)
      const scaling = { StreamName, TargetShardCount: 3, ScalingType: 'UNIFORM_SCALING' } as const
      expect(await stage.kinesis.updateShardCount(scaling)).toMatchObject({
        StreamName,
        CurrentShardCount: 2,
        TargetShardCount: 3,
      })
    },
  },
  {
    name: 'UpdateShardCount to more than double is refused',
    needs: 'limits',
    run: async (stage) => {
      const { name: StreamName } = await stage.stream()
      const scaling = { StreamName, TargetShardCount: 3, ScalingType: 'UNIFORM_SCALING' } as const
      expect(await refusal(stage.kinesis.updateShardCount(scaling))).toMatch(
        /^(InvalidArgumentException|LimitExceededException)$/,
      )
    },
  },
  {
    name: 'an on-demand stream is neither split, merged nor resized, with ValidationException',
    run: async (stage) => {
      const StreamName = stage.freshName()
      await stage.create({ StreamName, StreamModeDetails: { StreamMode: 'ON_DEMAND' } })
      await stage.untilActive(StreamName)
      const split = { StreamName, ShardToSplit: FIRST_SHARD, NewStartingHashKey: String(2n ** 125n) }
      const merge = { StreamName, ShardToMerge: FIRST_SHARD, AdjacentShardToMerge: 'shardId-000000000001' }
      const resize = { StreamName, TargetShardCount: 8, ScalingType: 'UNIFORM_SCALING' } as const
      const refusals = {
        split: await refusal(stage.kinesis.splitShard(split)),
        merge: await refusal(stage.kinesis.mergeShards(merge)),
        resize: await refusal(stage.kinesis.updateShardCount(resize)),
      }
      for (const [call, name] of Object.entries(refusals)) expect(name, call).toBe('ValidationException')
    },
  },
]
