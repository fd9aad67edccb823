import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'vitest'
import type { Case } from '../case.ts'
import { CALLERS_FAULT, refusal, type Stage, type StreamOnStage } from '../stage.ts'

/** A stream of one shard with the records a, b and c, and their sequence numbers. */
async function abc(stage: Stage): Promise<StreamOnStage & { numbers: string[] }> {
  const stream = await stage.stream()
  const numbers: string[] = []
  for (const text of ['a', 'b', 'c']) numbers.push((await stage.put(stream.name, text)).number)
  return { ...stream, numbers }
}

export const iterators: readonly Case[] = [
  {
    name: 'TRIM_HORIZON is before the oldest record',
    run: async (stage) => {
      const { name } = await abc(stage)
      expect(await stage.texts(await stage.iterator(name, 'TRIM_HORIZON'), 3)).toEqual(['a', 'b', 'c'])
    },
  },
  {
    name: 'LATEST is after the newest record: only what is put later comes',
    run: async (stage) => {
      const { name } = await abc(stage)
      const iterator = await stage.iterator(name, 'LATEST')
      await stage.put(name, 'd')
      expect(await stage.texts(iterator, 1)).toEqual(['d'])
    },
  },
  {
    name: 'AT_SEQUENCE_NUMBER is before that record',
    run: async (stage) => {
      const { name, numbers } = await abc(stage)
      expect(await stage.texts(await stage.iterator(name, 'AT_SEQUENCE_NUMBER', { number: numbers[1]! }), 2)).toEqual([
        'b',
        'c',
      ])
    },
  },
  {
    name: 'AFTER_SEQUENCE_NUMBER is after that record',
    run: async (stage) => {
      const { name, numbers } = await abc(stage)
      const iterator = await stage.iterator(name, 'AFTER_SEQUENCE_NUMBER', { number: numbers[1]! })
      expect(await stage.texts(iterator, 1)).toEqual(['c'])
    },
  },
  {
    name: 'AFTER_SEQUENCE_NUMBER of the last record gives nothing until there is more',
    run: async (stage) => {
      const { name, numbers } = await abc(stage)
      const iterator = await stage.iterator(name, 'AFTER_SEQUENCE_NUMBER', { number: numbers[2]! })
      const { records, next } = await stage.read(iterator, 0)
      expect(records).toEqual([])
      await stage.put(name, 'd')
      expect(await stage.texts(next!, 1)).toEqual(['d'])
    },
  },
  {
    name: 'AT_SEQUENCE_NUMBER takes the starting sequence number of the shard',
    run: async (stage) => {
      const { name } = await abc(stage)
      const number = (await stage.shard(name)).SequenceNumberRange!.StartingSequenceNumber!
      expect(await stage.texts(await stage.iterator(name, 'AT_SEQUENCE_NUMBER', { number }), 3)).toEqual([
        'a',
        'b',
        'c',
      ])
    },
  },
  {
    name: 'AT_TIMESTAMP is before the first record that arrived then or later',
    run: async (stage) => {
      const { name } = await stage.stream()
      await stage.put(name, 'early')
      await sleep(20)
      const time = new Date()
      await sleep(20)
      await stage.put(name, 'late')
      expect(await stage.texts(await stage.iterator(name, 'AT_TIMESTAMP', { time }), 1)).toEqual(['late'])
    },
  },
  {
    name: "AT_TIMESTAMP of a record's own arrival gives that record",
    run: async (stage) => {
      const { name } = await stage.stream()
      await stage.put(name, 'early')
      await sleep(20)
      await stage.put(name, 'late')
      const { records } = await stage.read(await stage.iterator(name, 'TRIM_HORIZON'), 2)
      const time = records[1]!.ApproximateArrivalTimestamp!
      expect(await stage.texts(await stage.iterator(name, 'AT_TIMESTAMP', { time }), 1)).toEqual(['late'])
    },
  },
  {
    name: 'AT_TIMESTAMP before the stream is the same as TRIM_HORIZON',
    run: async (stage) => {
      const { name } = await abc(stage)
      const time = new Date(Date.now() - 3_600_000)
      expect(await stage.texts(await stage.iterator(name, 'AT_TIMESTAMP', { time }), 3)).toEqual(['a', 'b', 'c'])
    },
  },
  {
    name: 'AT_TIMESTAMP after the last record gives nothing until there is more',
    run: async (stage) => {
      const { name } = await abc(stage)
      await sleep(20)
      const time = new Date()
      await sleep(5)
      const { records, next } = await stage.read(await stage.iterator(name, 'AT_TIMESTAMP', { time }), 0)
      expect(records).toEqual([])
      await stage.put(name, 'd')
      expect(await stage.texts(next!, 1)).toEqual(['d'])
    },
  },
  {
    name: 'AT_TIMESTAMP in the future is refused with InvalidArgumentException',
    run: async (stage) => {
      const { name } = await abc(stage)
      const time = new Date(Date.now() + 60_000)
      expect(await refusal(stage.iterator(name, 'AT_TIMESTAMP', { time }))).toBe('InvalidArgumentException')
    },
  },
  {
    name: 'AT_TIMESTAMP without a time is refused',
    run: async (stage) => {
      const { name } = await abc(stage)
      expect(await refusal(stage.iterator(name, 'AT_TIMESTAMP'))).toMatch(CALLERS_FAULT)
    },
  },
  {
    name: 'a sequence number of another shard is refused with InvalidArgumentException',
    run: async (stage) => {
      const { name } = await stage.stream(2)
      const { number } = await stage.put(name, 'low', '0')
      const elsewhere = { shardId: 'shardId-000000000001', number }
      expect(await refusal(stage.iterator(name, 'AT_SEQUENCE_NUMBER', elsewhere))).toBe('InvalidArgumentException')
      expect(await refusal(stage.iterator(name, 'AFTER_SEQUENCE_NUMBER', elsewhere))).toBe('InvalidArgumentException')
    },
  },
  {
    name: 'a sequence number that is none, or missing, is refused',
    run: async (stage) => {
      const { name } = await abc(stage)
      expect(await refusal(stage.iterator(name, 'AT_SEQUENCE_NUMBER', { number: 'seven' }))).toMatch(CALLERS_FAULT)
      expect(await refusal(stage.iterator(name, 'AFTER_SEQUENCE_NUMBER'))).toMatch(CALLERS_FAULT)
    },
  },
  {
    name: 'an iterator of a shard that does not exist is refused with ResourceNotFoundException',
    run: async (stage) => {
      const { name } = await stage.stream()
      expect(await refusal(stage.iterator(name, 'LATEST', { shardId: 'shardId-000000000009' }))).toBe(
        'ResourceNotFoundException',
      )
    },
  },
  {
    name: 'an iterator behind the last record of a closed shard is at its end',
    run: async (stage) => {
      const { name } = await stage.stream()
      const { number } = await stage.put(name, 'last')
      await stage.split(name)
      const iterator = await stage.iterator(name, 'AFTER_SEQUENCE_NUMBER', { number })
      const { records, next } = await stage.read(iterator, 1)
      expect([records, next]).toEqual([[], undefined])
    },
  },
  {
    name: 'an iterator that was made before a split goes on to the end of the shard',
    run: async (stage) => {
      const { name } = await stage.stream()
      const iterator = await stage.iterator(name, 'LATEST')
      await stage.put(name, 'last')
      await stage.split(name)
      await stage.put(name, "a child's")
      const { records, next } = await stage.read(iterator, 2)
      expect(records.map(({ PartitionKey }) => PartitionKey)).toEqual(['last'])
      expect(next).toBeUndefined()
    },
  },
  {
    name: 'an iterator can be used again and gives the same records',
    run: async (stage) => {
      const { name } = await abc(stage)
      const iterator = await stage.iterator(name, 'TRIM_HORIZON')
      expect(await stage.texts(iterator, 3)).toEqual(['a', 'b', 'c'])
      expect(await stage.texts(iterator, 3)).toEqual(['a', 'b', 'c'])
    },
  },
  {
    name: 'an iterator that the service did not make is refused with InvalidArgumentException',
    run: async ({ kinesis }) => {
      expect(await refusal(kinesis.getRecords({ ShardIterator: 'AAAAnonsense' }))).toBe('InvalidArgumentException')
    },
  },
  {
    name: 'an iterator of a deleted stream is refused with ResourceNotFoundException',
    run: async (stage) => {
      const { name } = await stage.stream()
      const ShardIterator = await stage.iterator(name, 'TRIM_HORIZON')
      await stage.kinesis.deleteStream({ StreamName: name })
      await stage.untilGone(name)
      expect(await refusal(stage.kinesis.getRecords({ ShardIterator }))).toBe('ResourceNotFoundException')
    },
  },
]
