import { expect } from 'vitest'
import type { Case } from '../case.ts'
import { refusal } from '../stage.ts'

const SECOND_MS = 1_000
const MINUTE_MS = 60 * SECOND_MS
const HOUR_MS = 60 * MINUTE_MS

export const time: readonly Case[] = [
  {
    name: 'an iterator lives five minutes, then it is refused with ExpiredIteratorException',
    needs: 'clock',
    run: async (stage) => {
      const { name } = await stage.stream()
      await stage.put(name, 'a')
      const iterator = await stage.iterator(name, 'TRIM_HORIZON')
      await stage.advance(5 * MINUTE_MS - SECOND_MS)
      expect(await stage.texts(iterator, 1)).toEqual(['a'])
      await stage.advance(2 * SECOND_MS)
      expect(await refusal(stage.kinesis.getRecords({ ShardIterator: iterator }))).toBe('ExpiredIteratorException')
    },
  },
  {
    name: 'a token of ListShards lives five minutes, then it is refused with ExpiredNextTokenException',
    needs: 'clock',
    run: async (stage) => {
      const { name: StreamName } = await stage.stream(2)
      const { NextToken } = await stage.kinesis.listShards({ StreamName, MaxResults: 1 })
      await stage.advance(5 * MINUTE_MS - SECOND_MS)
      expect((await stage.kinesis.listShards({ NextToken })).Shards!.length).toBe(1)
      await stage.advance(2 * SECOND_MS)
      expect(await refusal(stage.kinesis.listShards({ NextToken }))).toBe('ExpiredNextTokenException')
    },
  },
  {
    name: 'records are trimmed when the retention period is over',
    needs: 'clock',
    run: async (stage) => {
      const { name } = await stage.stream()
      await stage.put(name, 'old')
      await stage.advance(23 * HOUR_MS)
      await stage.put(name, 'young')
      await stage.advance(HOUR_MS + SECOND_MS)
      expect(await stage.texts(await stage.iterator(name, 'TRIM_HORIZON'), 1)).toEqual(['young'])
    },
  },
  {
    name: 'a longer retention period keeps them longer',
    needs: 'clock',
    run: async (stage) => {
      const { name: StreamName } = await stage.stream()
      await stage.put(StreamName, 'old')
      await stage.kinesis.increaseStreamRetentionPeriod({ StreamName, RetentionPeriodHours: 48 })
      await stage.advance(25 * HOUR_MS)
      expect(await stage.texts(await stage.iterator(StreamName, 'TRIM_HORIZON'), 1)).toEqual(['old'])
    },
  },
  {
    name: 'a closed shard is listed until its retention period is over',
    needs: 'clock',
    run: async (stage) => {
      const { name } = await stage.stream()
      await stage.advance(HOUR_MS)
      await stage.split(name)
      await stage.advance(24 * HOUR_MS - SECOND_MS)
      expect((await stage.shards(name)).length).toBe(3)
      await stage.advance(2 * SECOND_MS)
      const ids = (await stage.shards(name)).map(({ ShardId }) => ShardId)
      expect(ids).toEqual(['shardId-000000000001', 'shardId-000000000002'])
    },
  },
  {
    name: 'a subscription ends after five minutes',
    needs: 'clock',
    run: async (stage) => {
      const { arn } = await stage.stream()
      const fanOut = await stage.subscribe(await stage.consumer(arn))
      await stage.advance(5 * MINUTE_MS - SECOND_MS)
      await fanOut.until('a first event', ({ events }) => events.length > 0)
      expect(fanOut.end).toBeUndefined()
      await stage.advance(2 * SECOND_MS)
      await fanOut.until('its end', ({ end }) => end !== undefined)
      expect(fanOut.end).toBe('over')
    },
  },
  {
    name: 'a subscription without records is sent an event at least every five seconds',
    needs: 'clock',
    run: async (stage) => {
      const { arn } = await stage.stream()
      const fanOut = await stage.subscribe(await stage.consumer(arn))
      for (let events = 1; events <= 3; events++) {
        await stage.advance(5 * SECOND_MS)
        await fanOut.until(`event ${events}`, (seen) => seen.events.length >= events)
      }
      expect(fanOut.events.every(({ ContinuationSequenceNumber }) => ContinuationSequenceNumber !== undefined)).toBe(
        true,
      )
    },
  },
  {
    name: "a second subscription after five seconds takes the first one's place",
    needs: 'clock',
    run: async (stage) => {
      const { name, arn } = await stage.stream()
      const consumer = await stage.consumer(arn)
      const first = await stage.subscribe(consumer)
      await stage.advance(6 * SECOND_MS)
      const second = await stage.subscribe(consumer)
      await first.until('its end', ({ end }) => end !== undefined)
      expect(first.end).toMatch(/^(over|ResourceInUseException)$/)
      await stage.put(name, 'pushed')
      await second.until('the record', ({ texts }) => texts.length === 1)
    },
  },
]
