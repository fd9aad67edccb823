import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'vitest'
import type { Case } from '../case.ts'
import { CALLERS_FAULT, refusal } from '../stage.ts'

const MIB = 2 ** 20

export const reading: readonly Case[] = [
  {
    name: 'Limit bounds the records of an answer, and the next iterator goes on behind them',
    run: async (stage) => {
      const { name } = await stage.stream()
      for (const text of ['a', 'b', 'c']) await stage.put(name, text)
      const first = await stage.kinesis.getRecords({
        ShardIterator: await stage.iterator(name, 'TRIM_HORIZON'),
        Limit: 2,
      })
      expect(first.Records!.map(({ PartitionKey }) => PartitionKey)).toEqual(['a', 'b'])
      expect(await stage.texts(first.NextShardIterator!, 1)).toEqual(['c'])
    },
  },
  {
    name: 'a Limit above 10,000 or below 1 is refused',
    run: async (stage) => {
      const { name } = await stage.stream()
      const ShardIterator = await stage.iterator(name, 'TRIM_HORIZON')
      for (const Limit of [0, 10_001]) {
        expect(await refusal(stage.kinesis.getRecords({ ShardIterator, Limit }))).toMatch(CALLERS_FAULT)
      }
    },
  },
  {
    name: 'MillisBehindLatest tells how far behind the reader is, and 0 at the tip',
    run: async (stage) => {
      const { name } = await stage.stream()
      const Records = ['a', 'b'].map((text) => ({ PartitionKey: text, Data: Buffer.from(text) }))
      await stage.kinesis.putRecords({ StreamName: name, Records })
      await sleep(50)
      const ShardIterator = await stage.iterator(name, 'TRIM_HORIZON')
      const behind = await stage.kinesis.getRecords({ ShardIterator, Limit: 1 })
      expect(behind.MillisBehindLatest).toBeGreaterThanOrEqual(40)
      expect(behind.MillisBehindLatest).toBeLessThan(60_000)
      const tip = await stage.kinesis.getRecords({ ShardIterator: behind.NextShardIterator })
      expect(tip.MillisBehindLatest).toBe(0)
    },
  },
  {
    name: 'records bear the time of their arrival',
    run: async (stage) => {
      const { name } = await stage.stream()
      const before = Date.now()
      await stage.put(name, 'a')
      await stage.put(name, 'b')
      const after = Date.now()
      const { records } = await stage.read(await stage.iterator(name, 'TRIM_HORIZON'), 2)
      const [first, second] = records.map(({ ApproximateArrivalTimestamp: time }) => time!.getTime())
      // The service's timestamps have a precision of milliseconds.
      expect(first).toBeGreaterThanOrEqual(before - 1)
      expect(second).toBeGreaterThanOrEqual(first!)
      expect(second).toBeLessThanOrEqual(after + 1)
    },
  },
  {
    name: 'an answer has at most 10 MiB of records',
    needs: 'speed',
    run: async (stage) => {
      const { name, arn } = await stage.stream()
      await stage.kinesis.updateMaxRecordSize({ StreamARN: arn, MaxRecordSizeInKiB: 10_240 })
      await stage.untilActive(name)
      for (const key of ['first', 'second']) {
        await stage.kinesis.putRecord({ StreamName: name, PartitionKey: key, Data: Buffer.alloc(6 * MIB) })
      }
      const ShardIterator = await stage.iterator(name, 'TRIM_HORIZON')
      const answer = await stage.kinesis.getRecords({ ShardIterator })
      expect(answer.Records!.map(({ PartitionKey }) => PartitionKey)).toEqual(['first'])
      expect(answer.MillisBehindLatest).toBeGreaterThan(0)
    },
  },
  {
    name: 'beyond five calls a second GetRecords is refused with ProvisionedThroughputExceededException',
    needs: 'limits',
    run: async (stage) => {
      const { name } = await stage.stream()
      const ShardIterator = await stage.iterator(name, 'TRIM_HORIZON')
      const answers = await Promise.all(
        Array.from({ length: 12 }, () => refusal(stage.kinesis.getRecords({ ShardIterator }))),
      )
      expect(answers).toContain('accepted')
      expect(answers).toContain('ProvisionedThroughputExceededException')
    },
  },
]
