import { expect } from 'vitest'
import type { Case } from '../case.ts'
import { refusal } from '../stage.ts'

const FIRST_SHARD = 'shardId-000000000000'

export const subscriptions: readonly Case[] = [
  {
    name: 'a subscription from TRIM_HORIZON is pushed what is there and what comes',
    run: async (stage) => {
      const { name, arn } = await stage.stream()
      const { number } = await stage.put(name, 'old')
      const fanOut = await stage.subscribe(await stage.consumer(arn))
      await fanOut.until('the old record', ({ texts }) => texts.length === 1)
      await stage.put(name, 'new')
      await fanOut.until('the new record', ({ texts }) => texts.length === 2)
      expect(fanOut.texts).toEqual(['old', 'new'])
      const [record] = fanOut.events.flatMap(({ Records }) => Records!)
      expect(record).toMatchObject({
        SequenceNumber: number,
        PartitionKey: 'old',
        ApproximateArrivalTimestamp: expect.any(Date),
      })
    },
  },
  {
    name: 'a subscription from LATEST is pushed only what is put later',
    run: async (stage) => {
      const { name, arn } = await stage.stream()
      await stage.put(name, 'old')
      const fanOut = await stage.subscribe(await stage.consumer(arn), { Type: 'LATEST' })
      await stage.put(name, 'new')
      await fanOut.until('the new record', ({ texts }) => texts.length > 0)
      expect(fanOut.texts).toEqual(['new'])
    },
  },
  {
    name: 'a subscription from AT_TIMESTAMP and from AT_SEQUENCE_NUMBER starts there',
    run: async (stage) => {
      const { name, arn } = await stage.stream()
      await stage.put(name, 'a')
      const { number: SequenceNumber } = await stage.put(name, 'b')
      const byNumber = await stage.subscribe(await stage.consumer(arn, 'number'), {
        Type: 'AT_SEQUENCE_NUMBER',
        SequenceNumber,
      })
      const byTime = await stage.subscribe(await stage.consumer(arn, 'time'), {
        Type: 'AT_TIMESTAMP',
        Timestamp: new Date(Date.now() - 60_000),
      })
      await byNumber.until('b', ({ texts }) => texts.length >= 1)
      await byTime.until('a and b', ({ texts }) => texts.length >= 2)
      expect([byNumber.texts, byTime.texts]).toEqual([['b'], ['a', 'b']])
    },
  },
  {
    name: 'every event has a ContinuationSequenceNumber, from which another subscription goes on',
    run: async (stage) => {
      const { name, arn } = await stage.stream()
      await stage.put(name, 'seen')
      const first = await stage.subscribe(await stage.consumer(arn, 'first'))
      await first.until('the first record', ({ texts }) => texts.length === 1)
      const { ContinuationSequenceNumber } = first.events.at(-1)!
      expect(ContinuationSequenceNumber).toMatch(/^[1-9]\d*$/)
      await first.close()
      await stage.put(name, 'next')
      const second = await stage.subscribe(await stage.consumer(arn, 'second'), {
        Type: 'AFTER_SEQUENCE_NUMBER',
        SequenceNumber: ContinuationSequenceNumber!,
      })
      await second.until('the next record', ({ texts }) => texts.length > 0)
      expect(second.texts).toEqual(['next'])
    },
  },
  {
    name: 'an event at the tip says 0 MillisBehindLatest',
    run: async (stage) => {
      const { name, arn } = await stage.stream()
      await stage.put(name, 'one')
      const fanOut = await stage.subscribe(await stage.consumer(arn))
      await fanOut.until('the record', ({ texts }) => texts.length === 1)
      expect(fanOut.events.at(-1)!.MillisBehindLatest).toBe(0)
    },
  },
  {
    name: 'two consumers of a shard are pushed the same records',
    run: async (stage) => {
      const { name, arn } = await stage.stream()
      const one = await stage.subscribe(await stage.consumer(arn, 'one'))
      const two = await stage.subscribe(await stage.consumer(arn, 'two'))
      await stage.put(name, 'both')
      await one.until('the record', ({ texts }) => texts.length === 1)
      await two.until('the record', ({ texts }) => texts.length === 1)
      expect([one.texts, two.texts]).toEqual([['both'], ['both']])
    },
  },
  {
    name: 'a subscription to a closed shard ends with an event that names the children',
    run: async (stage) => {
      const { name, arn } = await stage.stream()
      await stage.put(name, 'last')
      await stage.split(name)
      const fanOut = await stage.subscribe(await stage.consumer(arn))
      await fanOut.until('its end', ({ end }) => end !== undefined)
      expect([fanOut.texts, fanOut.end]).toEqual([['last'], 'over'])
      expect(fanOut.events.at(-1)!.ChildShards).toMatchObject([
        { ShardId: 'shardId-000000000001', ParentShards: [FIRST_SHARD] },
        { ShardId: 'shardId-000000000002', ParentShards: [FIRST_SHARD] },
      ])
    },
  },
  {
    name: 'a running subscription ends when its shard is split',
    run: async (stage) => {
      const { name, arn } = await stage.stream()
      const fanOut = await stage.subscribe(await stage.consumer(arn))
      await stage.put(name, 'last')
      await fanOut.until('the record', ({ texts }) => texts.length === 1)
      await stage.split(name)
      await fanOut.until('its end', ({ end }) => end !== undefined)
      expect(fanOut.end).toBe('over')
      expect(fanOut.events.at(-1)!.ChildShards?.length).toBe(2)
    },
  },
  {
    name: 'a second subscription of a consumer to a shard within 5 seconds is refused with ResourceInUseException',
    run: async (stage) => {
      const { arn } = await stage.stream()
      const consumer = await stage.consumer(arn)
      await stage.subscribe(consumer)
      expect(await refusal(stage.subscribe(consumer))).toBe('ResourceInUseException')
    },
  },
  {
    name: 'a subscription of an unknown consumer is refused with ResourceNotFoundException',
    run: async (stage) => {
      const { arn } = await stage.stream()
      expect(await refusal(stage.subscribe(`${arn}/consumer/nobody:1700000000`))).toBe('ResourceNotFoundException')
    },
  },
  {
    name: 'a subscription to a shard that does not exist is refused with ResourceNotFoundException',
    run: async (stage) => {
      const { arn } = await stage.stream()
      const consumer = await stage.consumer(arn)
      const start = { Type: 'TRIM_HORIZON' } as const
      expect(await refusal(stage.subscribe(consumer, start, 'shardId-000000000009'))).toBe('ResourceNotFoundException')
    },
  },
  {
    name: 'a subscription from a sequence number of another shard is refused with InvalidArgumentException',
    run: async (stage) => {
      const { name, arn } = await stage.stream(2)
      const { number: SequenceNumber } = await stage.put(name, 'high', String(2n ** 127n))
      const consumer = await stage.consumer(arn)
      expect(await refusal(stage.subscribe(consumer, { Type: 'AT_SEQUENCE_NUMBER', SequenceNumber }))).toBe(
        'InvalidArgumentException',
      )
    },
  },
]
