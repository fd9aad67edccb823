import { KinesisServiceException, ResourceNotFoundException } from '@aws-sdk/client-kinesis'
import { expect } from 'vitest'
import type { Case } from '../case.ts'
import { CALLERS_FAULT, refusal } from '../stage.ts'

export const errors: readonly Case[] = [
  {
    name: 'an unknown stream is refused with ResourceNotFoundException, whatever is asked of it',
    run: async ({ kinesis }) => {
      const StreamName = 'no-such-stream'
      const Data = Buffer.from('data')
      const ShardId = 'shardId-000000000000'
      const refusals = {
        describe: await refusal(kinesis.describeStream({ StreamName })),
        summary: await refusal(kinesis.describeStreamSummary({ StreamName })),
        shards: await refusal(kinesis.listShards({ StreamName })),
        put: await refusal(kinesis.putRecord({ StreamName, PartitionKey: 'key', Data })),
        putMany: await refusal(kinesis.putRecords({ StreamName, Records: [{ PartitionKey: 'key', Data }] })),
        iterator: await refusal(kinesis.getShardIterator({ StreamName, ShardId, ShardIteratorType: 'LATEST' })),
        remove: await refusal(kinesis.deleteStream({ StreamName })),
        tags: await refusal(kinesis.listTagsForStream({ StreamName })),
        split: await refusal(
          kinesis.splitShard({ StreamName, ShardToSplit: ShardId, NewStartingHashKey: String(2n ** 127n) }),
        ),
        resize: await refusal(
          kinesis.updateShardCount({ StreamName, TargetShardCount: 2, ScalingType: 'UNIFORM_SCALING' }),
        ),
      }
      for (const [call, name] of Object.entries(refusals)) {
        expect(name, call).toBe('ResourceNotFoundException')
      }
    },
  },
  {
    name: 'an error has the class, the text, the status and the request id that the SDK reads',
    run: async ({ kinesis }) => {
      const error: unknown = await kinesis
        .describeStreamSummary({ StreamName: 'no-such-stream' })
        .catch((caught: unknown) => caught)
      expect(error).toBeInstanceOf(ResourceNotFoundException)
      expect(error).toBeInstanceOf(KinesisServiceException)
      const { message, $fault, $metadata } = error as ResourceNotFoundException
      expect(message).toMatch(/no-such-stream/)
      expect([$fault, $metadata.httpStatusCode]).toEqual(['client', 400])
      expect($metadata.requestId).toMatch(/^[0-9a-f-]{36}$/)
    },
  },
  {
    name: 'a request that names no stream is refused',
    run: async ({ kinesis }) => {
      expect(await refusal(kinesis.describeStreamSummary({}))).toMatch(CALLERS_FAULT)
      expect(await refusal(kinesis.putRecord({ PartitionKey: 'key', Data: Buffer.from('data') }))).toMatch(
        CALLERS_FAULT,
      )
    },
  },
  {
    name: 'a field outside of its constraints is refused with ValidationException',
    run: async (stage) => {
      const { name: StreamName } = await stage.stream()
      const { kinesis } = stage
      const Data = Buffer.from('data')
      const refusals = {
        pattern: await refusal(kinesis.createStream({ StreamName: 'two words', ShardCount: 1 })),
        tooLong: await refusal(kinesis.putRecord({ StreamName, PartitionKey: 'x'.repeat(257), Data })),
        tooShort: await refusal(kinesis.putRecord({ StreamName, PartitionKey: '', Data })),
        tooFew: await refusal(kinesis.putRecords({ StreamName, Records: [] })),
        noData: await refusal(kinesis.putRecord({ StreamName, PartitionKey: 'key', Data: undefined })),
        choice: await refusal(stage.iterator(StreamName, 'SOMEWHERE' as 'LATEST')),
        shardCount: await refusal(kinesis.createStream({ StreamName: `${StreamName}-0`, ShardCount: 0 })),
      }
      for (const [field, name] of Object.entries(refusals)) expect(name, field).toBe('ValidationException')
    },
  },
  {
    name: 'an answer has a request id',
    run: async (stage) => {
      const { name: StreamName } = await stage.stream()
      const { $metadata } = await stage.kinesis.listShards({ StreamName })
      expect($metadata.httpStatusCode).toBe(200)
      expect($metadata.requestId).toMatch(/^[0-9a-f-]{36}$/)
    },
  },
]
