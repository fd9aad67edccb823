import type { ListShardsCommand } from '@aws-sdk/client-kinesis'
import { MAX_HASH_KEY } from '@shardwise/records'
import { expect, test } from 'vitest'
import { listShards } from './shards.ts'
import type { Kinesis } from './stream.ts'

const shard = (id: string, from: string, to: string): object => ({
  ShardId: id,
  HashKeyRange: { StartingHashKey: from, EndingHashKey: to },
  SequenceNumberRange: { StartingSequenceNumber: '10' },
})

function kinesisWith(pages: object[]): { kinesis: Kinesis; inputs: object[] } {
  const inputs: object[] = []
  const send = async (command: ListShardsCommand): Promise<object> => {
    inputs.push(command.input)
    const page = pages.shift()
    if (page === undefined) throw new Error('no more pages')
    return page
  }
  return { kinesis: { send } as unknown as Kinesis, inputs }
}

test('reads every page, naming the stream on the first alone', async () => {
  const { kinesis, inputs } = kinesisWith([
    { Shards: [shard('shardId-0', '0', '9')], NextToken: 'more' },
    {
      Shards: [
        { ...shard('shardId-1', '10', MAX_HASH_KEY.toString()), ParentShardId: 'a', AdjacentParentShardId: 'b' },
      ],
    },
  ])
  const shards = await listShards(kinesis, 'orders', { filter: { Type: 'AT_LATEST' } })
  expect(inputs).toEqual([
    { StreamName: 'orders', MaxResults: 1000, ShardFilter: { Type: 'AT_LATEST' } },
    { NextToken: 'more', MaxResults: 1000 },
  ])
  expect(shards.map(({ shardId, parentShardIds }) => [shardId, parentShardIds])).toEqual([
    ['shardId-0', []],
    ['shardId-1', ['a', 'b']],
  ])
  expect(shards[1]?.hashRange).toEqual({ start: 10n, end: MAX_HASH_KEY })
})

test('an error in mid-listing fails the whole listing', async () => {
  const { kinesis } = kinesisWith([{ Shards: [shard('shardId-0', '0', '9')], NextToken: 'more' }])
  await expect(listShards(kinesis, 'orders')).rejects.toThrow('no more pages')
})

test('a stream given by ARN is named by ARN', async () => {
  const { kinesis, inputs } = kinesisWith([{ Shards: [] }])
  await listShards(kinesis, 'arn:aws:kinesis:eu-west-1:1:stream/orders')
  expect(inputs).toEqual([{ StreamARN: 'arn:aws:kinesis:eu-west-1:1:stream/orders', MaxResults: 1000 }])
})
