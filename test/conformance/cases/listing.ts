import { setTimeout as sleep } from 'node:timers/promises'
import type { ListShardsInput, ListShardsOutput, ShardFilter } from '@aws-sdk/client-kinesis'
import { expect } from 'vitest'
import type { Case } from '../case.ts'
import { CALLERS_FAULT, refusal, type Stage } from '../stage.ts'

const id = (index: number): string => `shardId-${String(index).padStart(12, '0')}`

async function ids(stage: Stage, request: ListShardsInput): Promise<string[]> {
  return (await stage.kinesis.listShards(request)).Shards!.map(({ ShardId }) => ShardId!)
}

/** A stream whose first of two shards was split a while after it was made: 0 is closed; 1, 2 and 3 are open. */
async function splitStream(stage: Stage): Promise<{ name: string; beforeSplit: Date; afterSplit: Date }> {
  const { name } = await stage.stream(2)
  await sleep(20)
  const beforeSplit = new Date()
  await sleep(20)
  await stage.split(name)
  await sleep(20)
  return { name, beforeSplit, afterSplit: new Date() }
}

/** What a filter lists of such a stream. */
function filtered(
  name: string,
  filter: (times: { beforeSplit: Date; afterSplit: Date }) => ShardFilter,
  expected: number[],
): Case {
  return {
    name,
    run: async (stage) => {
      const { name: StreamName, ...times } = await splitStream(stage)
      expect(await ids(stage, { StreamName, ShardFilter: filter(times) })).toEqual(expected.map(id))
    },
  }
}

export const listing: readonly Case[] = [
  {
    name: 'ListShards gives every shard, open and closed, in the order of the ids',
    run: async (stage) => {
      const { name } = await splitStream(stage)
      expect(await ids(stage, { StreamName: name })).toEqual([id(0), id(1), id(2), id(3)])
    },
  },
  {
    name: 'MaxResults makes pages, which a token continues',
    run: async (stage) => {
      const { name: StreamName } = await stage.stream(5)
      const pages: string[][] = []
      let request: ListShardsInput | undefined = { StreamName, MaxResults: 2 }
      while (request !== undefined && pages.length < 9) {
        const { Shards, NextToken }: ListShardsOutput = await stage.kinesis.listShards(request)
        pages.push(Shards!.map(({ ShardId }) => ShardId!))
        request = NextToken === undefined ? undefined : { NextToken, MaxResults: 2 }
      }
      expect(pages).toEqual([[id(0), id(1)], [id(2), id(3)], [id(4)]])
    },
  },
  {
    name: 'a token continues the filtered listing that it came from',
    run: async (stage) => {
      const { name: StreamName } = await stage.stream(2)
      await stage.split(StreamName, 1)
      const first = await stage.kinesis.listShards({ StreamName, MaxResults: 1, ShardFilter: { Type: 'AT_LATEST' } })
      expect(first.Shards!.map(({ ShardId }) => ShardId)).toEqual([id(0)])
      expect(await ids(stage, { NextToken: first.NextToken })).toEqual([id(2), id(3)])
    },
  },
  {
    name: 'a token together with a stream name is refused with InvalidArgumentException',
    run: async (stage) => {
      const { name: StreamName } = await stage.stream(2)
      const { NextToken } = await stage.kinesis.listShards({ StreamName, MaxResults: 1 })
      expect(await refusal(stage.kinesis.listShards({ StreamName, NextToken }))).toBe('InvalidArgumentException')
    },
  },
  {
    name: 'a token that the service did not make is refused',
    run: async ({ kinesis }) => {
      expect(await refusal(kinesis.listShards({ NextToken: 'AAAAnonsense' }))).toMatch(
        /^(InvalidArgumentException|ExpiredNextTokenException)$/,
      )
    },
  },
  {
    name: 'ListShards of nothing in particular is refused',
    run: async ({ kinesis }) => {
      expect(await refusal(kinesis.listShards({}))).toMatch(CALLERS_FAULT)
    },
  },
  {
    name: 'MaxResults below 1 or above 10,000 is refused',
    run: async (stage) => {
      const { name: StreamName } = await stage.stream()
      for (const MaxResults of [0, 10_001]) {
        expect(await refusal(stage.kinesis.listShards({ StreamName, MaxResults }))).toMatch(CALLERS_FAULT)
      }
    },
  },
  {
    name: 'ExclusiveStartShardId starts behind that shard',
    run: async (stage) => {
      const { name: StreamName } = await stage.stream(3)
      expect(await ids(stage, { StreamName, ExclusiveStartShardId: id(0) })).toEqual([id(1), id(2)])
    },
  },
  filtered('the filter AT_LATEST lists the open shards', () => ({ Type: 'AT_LATEST' }), [1, 2, 3]),
  filtered('the filter FROM_TRIM_HORIZON lists all', () => ({ Type: 'FROM_TRIM_HORIZON' }), [0, 1, 2, 3]),
  filtered('the filter AT_TRIM_HORIZON lists the oldest generation', () => ({ Type: 'AT_TRIM_HORIZON' }), [0, 1]),
  filtered('the filter AFTER_SHARD_ID lists what follows', () => ({ Type: 'AFTER_SHARD_ID', ShardId: id(1) }), [2, 3]),
  filtered(
    'the filter AT_TIMESTAMP lists what was open then',
    ({ beforeSplit }) => ({ Type: 'AT_TIMESTAMP', Timestamp: beforeSplit }),
    [0, 1],
  ),
  filtered(
    'the filter FROM_TIMESTAMP lists what was open then or later',
    ({ afterSplit }) => ({ Type: 'FROM_TIMESTAMP', Timestamp: afterSplit }),
    [1, 2, 3],
  ),
  {
    name: 'a filter without what its type needs is refused',
    run: async (stage) => {
      const { name: StreamName } = await stage.stream()
      for (const Type of ['AT_TIMESTAMP', 'FROM_TIMESTAMP', 'AFTER_SHARD_ID'] as const) {
        expect(await refusal(stage.kinesis.listShards({ StreamName, ShardFilter: { Type } }))).toMatch(CALLERS_FAULT)
      }
    },
  },
]
