import { expect } from 'vitest'
import type { Case } from '../case.ts'
import { CALLERS_FAULT, expectAbout, refusal, until } from '../stage.ts'

const LAST_HASH_KEY = 2n ** 128n - 1n

export const streams: readonly Case[] = [
  {
    name: 'a created stream becomes ACTIVE, with its shards spread evenly over the hash keys',
    run: async (stage) => {
      const { name } = await stage.stream(4)
      const ranges = (await stage.shards(name)).map(({ HashKeyRange: range }) => [
        BigInt(range!.StartingHashKey!),
        BigInt(range!.EndingHashKey!),
      ])
      expect(ranges.length).toBe(4)
      expect(ranges[0]![0]).toBe(0n)
      expect(ranges[3]![1]).toBe(LAST_HASH_KEY)
      for (const [index, [start, end]] of ranges.entries()) {
        if (index > 0) expect(start).toBe(ranges[index - 1]![1]! + 1n)
        expectAbout(end! - start! + 1n, 2n ** 126n)
      }
    },
  },
  {
    name: 'DescribeStreamSummary tells what a stream is',
    run: async (stage) => {
      const { name } = await stage.stream(3)
      const { StreamDescriptionSummary: summary } = await stage.kinesis.describeStreamSummary({ StreamName: name })
      expect(summary).toMatchObject({
        StreamName: name,
        StreamARN: expect.stringMatching(new RegExp(`^arn:aws:kinesis:us-east-1:\\d{12}:stream/${name}$`)),
        StreamStatus: 'ACTIVE',
        StreamModeDetails: { StreamMode: 'PROVISIONED' },
        RetentionPeriodHours: 24,
        StreamCreationTimestamp: expect.any(Date),
        EnhancedMonitoring: [{ ShardLevelMetrics: [] }],
        OpenShardCount: 3,
      })
      expect(summary!.EncryptionType ?? 'NONE').toBe('NONE')
      expect(summary!.ConsumerCount ?? 0).toBe(0)
      expect(Math.abs(summary!.StreamCreationTimestamp!.getTime() - Date.now())).toBeLessThan(60_000)
    },
  },
  {
    name: 'DescribeStreamSummary tells the size that a record may have',
    run: async (stage) => {
      const { name } = await stage.stream()
      expect((await stage.untilActive(name)).MaxRecordSizeInKiB).toBe(1024)
    },
  },
  {
    name: 'an on-demand stream starts with four shards',
    run: async (stage) => {
      const StreamName = stage.freshName()
      await stage.create({ StreamName, StreamModeDetails: { StreamMode: 'ON_DEMAND' } })
      const summary = await stage.untilActive(StreamName)
      expect(summary.StreamModeDetails?.StreamMode).toBe('ON_DEMAND')
      expect(summary.OpenShardCount).toBe(4)
    },
  },
  {
    name: 'a second stream of the same name is refused with ResourceInUseException',
    run: async (stage) => {
      const { name } = await stage.stream()
      expect(await refusal(stage.kinesis.createStream({ StreamName: name, ShardCount: 1 }))).toBe(
        'ResourceInUseException',
      )
    },
  },
  {
    name: 'a provisioned stream needs a number of shards',
    run: async (stage) => {
      const StreamName = stage.freshName()
      const provisioned = { StreamMode: 'PROVISIONED' } as const
      expect(await refusal(stage.kinesis.createStream({ StreamName, StreamModeDetails: provisioned }))).toMatch(
        CALLERS_FAULT,
      )
    },
  },
  {
    name: 'a stream can be named by its ARN alone',
    run: async (stage) => {
      const { name, arn: StreamARN } = await stage.stream()
      const { kinesis } = stage
      const { ShardId } = await kinesis.putRecord({ StreamARN, PartitionKey: 'key', Data: Buffer.from('by ARN') })
      const { Records } = await kinesis.putRecords({
        StreamARN,
        Records: [{ PartitionKey: 'key', Data: Buffer.from('too') }],
      })
      expect(Records![0]!.ShardId).toBe(ShardId)
      expect((await kinesis.listShards({ StreamARN })).Shards!.length).toBe(1)
      expect((await kinesis.describeStreamSummary({ StreamARN })).StreamDescriptionSummary!.StreamName).toBe(name)
      const { ShardIterator } = await kinesis.getShardIterator({
        StreamARN,
        ShardId,
        ShardIteratorType: 'TRIM_HORIZON',
      })
      expect(await stage.texts(ShardIterator!, 2)).toEqual(['by ARN', 'too'])
    },
  },
  {
    name: 'a deleted stream is gone, and one made anew under its name is empty',
    run: async (stage) => {
      const { name } = await stage.stream()
      await stage.put(name, 'old')
      await stage.kinesis.deleteStream({ StreamName: name })
      await stage.untilGone(name)
      expect(await refusal(stage.kinesis.deleteStream({ StreamName: name }))).toBe('ResourceNotFoundException')
      await stage.create({ StreamName: name, ShardCount: 1 })
      await stage.untilActive(name)
      expect(await stage.texts(await stage.iterator(name, 'TRIM_HORIZON'), 0)).toEqual([])
    },
  },
  {
    name: 'a stream with consumers is deleted only if that is asked for',
    run: async (stage) => {
      const { name, arn } = await stage.stream()
      await stage.consumer(arn)
      expect(await refusal(stage.kinesis.deleteStream({ StreamName: name }))).toBe('ResourceInUseException')
      await stage.kinesis.deleteStream({ StreamName: name, EnforceConsumerDeletion: true })
      await stage.untilGone(name)
    },
  },
  {
    name: 'ListStreams gives names in order, in pages',
    run: async (stage) => {
      const { name: first } = await stage.stream()
      const { name: second } = await stage.stream()
      const page = await stage.kinesis.listStreams({ Limit: 1, ExclusiveStartStreamName: first.slice(0, -1) })
      expect(page.StreamNames!.length).toBe(1)
      expect(page.HasMoreStreams).toBe(true)
      const rest = await stage.kinesis.listStreams({ NextToken: page.NextToken })
      const names = [...page.StreamNames!, ...rest.StreamNames!]
      expect(names).toContain(first)
      expect(names).toContain(second)
      expect(names).toEqual([...names].sort())
    },
  },
  {
    name: 'ListStreams summarises each stream',
    run: async (stage) => {
      const { name, arn } = await stage.stream()
      const { StreamSummaries } = await stage.kinesis.listStreams({ ExclusiveStartStreamName: name.slice(0, -1) })
      expect(StreamSummaries?.find(({ StreamName }) => StreamName === name)).toMatchObject({
        StreamARN: arn,
        StreamStatus: 'ACTIVE',
        StreamModeDetails: { StreamMode: 'PROVISIONED' },
        StreamCreationTimestamp: expect.any(Date),
      })
    },
  },
  {
    name: 'DescribeStream gives shards in pages',
    run: async (stage) => {
      const { name: StreamName } = await stage.stream(3)
      const first = await stage.kinesis.describeStream({ StreamName, Limit: 2 })
      expect(first.StreamDescription!.HasMoreShards).toBe(true)
      const ids = first.StreamDescription!.Shards!.map(({ ShardId }) => ShardId)
      expect(ids).toEqual(['shardId-000000000000', 'shardId-000000000001'])
      const second = await stage.kinesis.describeStream({ StreamName, ExclusiveStartShardId: ids[1]! })
      expect(second.StreamDescription!.HasMoreShards).toBe(false)
      expect(second.StreamDescription!.Shards!.map(({ ShardId }) => ShardId)).toEqual(['shardId-000000000002'])
    },
  },
  {
    name: 'the retention period is raised and lowered between 24 hours and 365 days',
    run: async (stage) => {
      const { name: StreamName } = await stage.stream()
      const { kinesis } = stage
      const hours = async (): Promise<number> => (await stage.untilActive(StreamName)).RetentionPeriodHours!
      await kinesis.increaseStreamRetentionPeriod({ StreamName, RetentionPeriodHours: 48 })
      expect(await hours()).toBe(48)
      await kinesis.decreaseStreamRetentionPeriod({ StreamName, RetentionPeriodHours: 24 })
      expect(await hours()).toBe(24)
      await kinesis.increaseStreamRetentionPeriod({ StreamName, RetentionPeriodHours: 8760 })
      expect(await hours()).toBe(8760)
    },
  },
  {
    name: 'a retention period out of bounds, or in the wrong direction, is refused with InvalidArgumentException',
    run: async (stage) => {
      const { name: StreamName } = await stage.stream()
      const { kinesis } = stage
      await kinesis.increaseStreamRetentionPeriod({ StreamName, RetentionPeriodHours: 48 })
      const raised = await refusal(kinesis.increaseStreamRetentionPeriod({ StreamName, RetentionPeriodHours: 36 }))
      const lowered = await refusal(kinesis.decreaseStreamRetentionPeriod({ StreamName, RetentionPeriodHours: 72 }))
      const tooShort = await refusal(kinesis.decreaseStreamRetentionPeriod({ StreamName, RetentionPeriodHours: 23 }))
      const tooLong = await refusal(kinesis.increaseStreamRetentionPeriod({ StreamName, RetentionPeriodHours: 8761 }))
      expect({ raised, lowered, tooShort, tooLong }).toEqual({
        raised: 'InvalidArgumentException',
        lowered: 'InvalidArgumentException',
        tooShort: 'InvalidArgumentException',
        tooLong: 'InvalidArgumentException',
      })
    },
  },
  {
    name: 'tags are added, listed and removed',
    run: async (stage) => {
      const { name: StreamName } = await stage.stream()
      await stage.kinesis.addTagsToStream({ StreamName, Tags: { team: 'flights', stage: 'test' } })
      await stage.kinesis.removeTagsFromStream({ StreamName, TagKeys: ['stage'] })
      expect((await stage.kinesis.listTagsForStream({ StreamName })).Tags).toEqual([{ Key: 'team', Value: 'flights' }])
    },
  },
  {
    name: 'UpdateMaxRecordSize lets larger records in',
    run: async (stage) => {
      const { name, arn } = await stage.stream()
      const record = { StreamName: name, PartitionKey: 'key', Data: Buffer.alloc(2 ** 20 + 1024) }
      expect(await refusal(stage.kinesis.putRecord(record))).toMatch(CALLERS_FAULT)
      await stage.kinesis.updateMaxRecordSize({ StreamARN: arn, MaxRecordSizeInKiB: 2048 })
      const summary = await until('the new size', async () => {
        const seen = await stage.untilActive(name)
        return seen.MaxRecordSizeInKiB === 2048 ? seen : undefined
      })
      expect(summary.MaxRecordSizeInKiB).toBe(2048)
      await stage.kinesis.putRecord(record)
      const { records } = await stage.read(await stage.iterator(name, 'TRIM_HORIZON'), 1)
      expect(records[0]!.Data!.length).toBe(record.Data.length)
    },
  },
  {
    name: 'beyond five CreateStream a second the account is refused with LimitExceededException',
    needs: 'limits',
    run: async (stage) => {
      const names = Array.from({ length: 12 }, () => stage.freshName())
      const answers = await Promise.all(
        names.map((StreamName) => refusal(stage.kinesis.createStream({ StreamName, ShardCount: 1 }))),
      )
      expect(answers).toContain('accepted')
      expect(answers).toContain('LimitExceededException')
    },
  },
  {
    name: 'a stream goes over to on-demand',
    run: async (stage) => {
      const { name, arn: StreamARN } = await stage.stream()
      await stage.kinesis.updateStreamMode({ StreamARN, StreamModeDetails: { StreamMode: 'ON_DEMAND' } })
      expect((await stage.untilActive(name)).StreamModeDetails).toEqual({ StreamMode: 'ON_DEMAND' })
    },
  },
  {
    name: 'encryption is switched on and off, and shown of the stream',
    run: async (stage) => {
      const { name: StreamName } = await stage.stream()
      const key = { StreamName, EncryptionType: 'KMS', KeyId: 'alias/aws/kinesis' } as const
      await stage.kinesis.startStreamEncryption(key)
      expect(await stage.untilActive(StreamName)).toMatchObject({ EncryptionType: 'KMS', KeyId: key.KeyId })
      await stage.put(StreamName, 'secret')
      expect(await stage.texts(await stage.iterator(StreamName, 'TRIM_HORIZON'), 1)).toEqual(['secret'])
      await stage.kinesis.stopStreamEncryption(key)
      expect((await stage.untilActive(StreamName)).EncryptionType).toBe('NONE')
    },
  },
  {
    name: 'metrics of shards are switched on and off, and shown of the stream',
    run: async (stage) => {
      const { name: StreamName } = await stage.stream()
      const shown = async (): Promise<unknown> => (await stage.untilActive(StreamName)).EnhancedMonitoring
      const IncomingBytes = { StreamName, ShardLevelMetrics: ['IncomingBytes' as const] }
      const enabled = await stage.kinesis.enableEnhancedMonitoring(IncomingBytes)
      expect(enabled.CurrentShardLevelMetrics).toEqual([])
      expect(enabled.DesiredShardLevelMetrics).toEqual(['IncomingBytes'])
      expect(await shown()).toEqual([{ ShardLevelMetrics: ['IncomingBytes'] }])
      await stage.kinesis.disableEnhancedMonitoring(IncomingBytes)
      expect(await shown()).toEqual([{ ShardLevelMetrics: [] }])
    },
  },
  {
    name: 'streams and consumers are tagged by their ARNs',
    run: async (stage) => {
      const { arn } = await stage.stream()
      for (const ResourceARN of [arn, await stage.consumer(arn)]) {
        await stage.kinesis.tagResource({ ResourceARN, Tags: { team: 'flights', stage: 'test' } })
        await stage.kinesis.untagResource({ ResourceARN, TagKeys: ['stage'] })
        const { Tags } = await stage.kinesis.listTagsForResource({ ResourceARN })
        expect(Tags).toEqual([{ Key: 'team', Value: 'flights' }])
      }
    },
  },
  {
    name: 'DescribeLimits counts the open shards of the account',
    run: async (stage) => {
      await stage.stream(3)
      const { OpenShardCount, ShardLimit } = await stage.kinesis.describeLimits({})
      expect(OpenShardCount).toBeGreaterThanOrEqual(3)
      expect(ShardLimit).toBeGreaterThanOrEqual(OpenShardCount!)
    },
  },
]
