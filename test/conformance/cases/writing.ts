import { createHash } from 'node:crypto'
import { expect } from 'vitest'
import type { Case } from '../case.ts'
import { CALLERS_FAULT, refusal, type Stage } from '../stage.ts'

const MIB = 2 ** 20
const LAST_HASH_KEY = 2n ** 128n - 1n

interface Entry {
  readonly PartitionKey: string
  readonly Data: Uint8Array
  readonly ExplicitHashKey?: string
}

const entry = (key: string, data: Uint8Array | string = key): Entry => ({ PartitionKey: key, Data: Buffer.from(data) })

/** What a PutRecords of these entries is refused with; nothing of it may be in the stream then. */
async function refusalOf(stage: Stage, StreamName: string, Records: Entry[]): Promise<string> {
  const name = await refusal(stage.kinesis.putRecords({ StreamName, Records }))
  if (name !== 'accepted') expect(await stage.texts(await stage.iterator(StreamName, 'TRIM_HORIZON'), 0)).toEqual([])
  return name
}

export const writing: readonly Case[] = [
  {
    name: 'PutRecord answers with the shard and the sequence number that the record is read with',
    run: async (stage) => {
      const { name } = await stage.stream()
      const { id, number } = await stage.put(name, 'hello')
      expect(number).toMatch(/^[1-9]\d{0,128}$/)
      const { records } = await stage.read(await stage.iterator(name, 'TRIM_HORIZON', { shardId: id }), 1)
      expect(records).toMatchObject([{ SequenceNumber: number, PartitionKey: 'hello' }])
      expect(Buffer.from(records[0]!.Data!).toString()).toBe('hello')
    },
  },
  {
    name: 'a put after another, with its sequence number for ordering, gets a greater one',
    run: async (stage) => {
      const { name: StreamName } = await stage.stream()
      const first = await stage.put(StreamName, 'key')
      const second = await stage.kinesis.putRecord({
        StreamName,
        PartitionKey: 'key',
        Data: Buffer.from('second'),
        SequenceNumberForOrdering: first.number,
      })
      expect(BigInt(second.SequenceNumber!)).toBeGreaterThan(BigInt(first.number))
    },
  },
  {
    name: 'PutRecords answers entry by entry, in the order of the request',
    run: async (stage) => {
      const { name: StreamName } = await stage.stream(2)
      const Records = ['0', String(LAST_HASH_KEY), '0'].map((ExplicitHashKey, index) => ({
        ...entry(`key-${index}`),
        ExplicitHashKey,
      }))
      const answer = await stage.kinesis.putRecords({ StreamName, Records })
      expect(answer.FailedRecordCount).toBe(0)
      expect(answer.Records!.map(({ ShardId }) => ShardId)).toEqual([
        'shardId-000000000000',
        'shardId-000000000001',
        'shardId-000000000000',
      ])
      for (const { SequenceNumber, ErrorCode, ErrorMessage } of answer.Records!) {
        expect(SequenceNumber).toMatch(/^[1-9]\d{0,128}$/)
        expect([ErrorCode, ErrorMessage]).toEqual([undefined, undefined])
      }
    },
  },
  {
    name: 'sequence numbers of a shard grow from record to record and from call to call',
    run: async (stage) => {
      const { name: StreamName } = await stage.stream()
      const numbers: bigint[] = []
      for (let call = 0; call < 3; call++) {
        const Records = Array.from({ length: 20 }, (_, index) => entry(`key-${index}`))
        const answer = await stage.kinesis.putRecords({ StreamName, Records })
        numbers.push(...answer.Records!.map(({ SequenceNumber }) => BigInt(SequenceNumber!)))
      }
      for (const [index, number] of numbers.entries()) {
        if (index > 0) expect(number).toBeGreaterThan(numbers[index - 1]!)
      }
      const { records } = await stage.read(await stage.iterator(StreamName, 'TRIM_HORIZON'), 60)
      expect(records.map(({ SequenceNumber }) => BigInt(SequenceNumber!))).toEqual(numbers)
    },
  },
  {
    name: 'the MD5 of the partition key in UTF-8 decides the shard',
    run: async (stage) => {
      const { name: StreamName } = await stage.stream(4)
      const keys = ['a', 'order-17', 'é', '東京', '🚲', 'x'.repeat(256)]
      const answer = await stage.kinesis.putRecords({ StreamName, Records: keys.map((key) => entry(key)) })
      const expected = keys.map((key) => {
        const hashKey = BigInt(`0x${createHash('md5').update(key).digest('hex')}`)
        return `shardId-00000000000${hashKey >> 126n}`
      })
      expect(answer.Records!.map(({ ShardId }) => ShardId)).toEqual(expected)
    },
  },
  {
    name: 'an explicit hash key wins over the partition key, which is kept',
    run: async (stage) => {
      const { name } = await stage.stream(2)
      const low = await stage.put(name, 'same', '0')
      const high = await stage.put(name, 'same', String(LAST_HASH_KEY))
      expect([low.id, high.id]).toEqual(['shardId-000000000000', 'shardId-000000000001'])
      const { records } = await stage.read(await stage.iterator(name, 'TRIM_HORIZON', { shardId: high.id }), 1)
      expect(records[0]!.PartitionKey).toBe('same')
    },
  },
  {
    name: 'an explicit hash key of 2^128 is refused with InvalidArgumentException',
    run: async (stage) => {
      const { name } = await stage.stream()
      expect(await refusal(stage.put(name, 'key', String(LAST_HASH_KEY + 1n)))).toBe('InvalidArgumentException')
    },
  },
  {
    name: 'an explicit hash key that is not a canonical decimal is refused',
    run: async (stage) => {
      const { name } = await stage.stream()
      const refusals = []
      for (const text of ['-1', '01', '0x10', 'one']) refusals.push(await refusal(stage.put(name, 'key', text)))
      for (const name of refusals) expect(name).toMatch(CALLERS_FAULT)
    },
  },
  {
    name: 'data comes back byte for byte, also none at all',
    run: async (stage) => {
      const { name: StreamName } = await stage.stream()
      const bytes = Uint8Array.from({ length: 256 }, (_, index) => index)
      await stage.kinesis.putRecords({ StreamName, Records: [entry('all', bytes), entry('none', '')] })
      const { records } = await stage.read(await stage.iterator(StreamName, 'TRIM_HORIZON'), 2)
      expect(records.map(({ Data }) => [...Data!])).toEqual([[...bytes], []])
    },
  },
  {
    name: 'partition keys of any script come back as they were',
    run: async (stage) => {
      const { name: StreamName } = await stage.stream()
      const keys = ['é', '東京', '🚲', 'tab\tand "quotes"', '\u0000']
      await stage.kinesis.putRecords({ StreamName, Records: keys.map((key) => entry(key, 'data')) })
      const { records } = await stage.read(await stage.iterator(StreamName, 'TRIM_HORIZON'), keys.length)
      expect(records.map(({ PartitionKey }) => PartitionKey)).toEqual(keys)
    },
  },
  {
    name: 'a partition key has 1 to 256 characters',
    run: async (stage) => {
      const { name: StreamName } = await stage.stream()
      await stage.kinesis.putRecords({ StreamName, Records: [entry('x'.repeat(256)), entry('é'.repeat(256))] })
      const put = (PartitionKey: string): Promise<string> =>
        refusal(stage.kinesis.putRecord({ StreamName, PartitionKey, Data: Buffer.from('data') }))
      expect(await put('x'.repeat(257))).toMatch(CALLERS_FAULT)
      expect(await put('')).toMatch(CALLERS_FAULT)
    },
  },
  {
    name: 'a record has at most 1 MiB together with its key',
    run: async (stage) => {
      const { name: StreamName } = await stage.stream()
      await stage.kinesis.putRecord({ StreamName, PartitionKey: 'key', Data: Buffer.alloc(MIB - 3) })
      const tooLarge = { StreamName, PartitionKey: 'key', Data: Buffer.alloc(MIB - 2) }
      expect(await refusal(stage.kinesis.putRecord(tooLarge))).toMatch(CALLERS_FAULT)
    },
  },
  {
    name: 'a PutRecords takes 500 records',
    run: async (stage) => {
      const { name: StreamName } = await stage.stream()
      const Records = Array.from({ length: 500 }, (_, index) => entry(`key-${index}`))
      const answer = await stage.kinesis.putRecords({ StreamName, Records })
      expect([answer.FailedRecordCount, answer.Records!.length]).toEqual([0, 500])
    },
  },
  {
    name: 'a PutRecords of 501 records is refused as a whole',
    run: async (stage) => {
      const { name } = await stage.stream()
      const Records = Array.from({ length: 501 }, (_, index) => entry(`key-${index}`))
      expect(await refusalOf(stage, name, Records)).toMatch(CALLERS_FAULT)
    },
  },
  {
    name: 'a PutRecords without records is refused',
    run: async (stage) => {
      const { name } = await stage.stream()
      expect(await refusalOf(stage, name, [])).toMatch(CALLERS_FAULT)
    },
  },
  {
    name: 'a PutRecords of more than 10 MiB is refused as a whole',
    needs: 'speed',
    run: async (stage) => {
      const { name, arn: StreamARN } = await stage.stream()
      await stage.kinesis.updateMaxRecordSize({ StreamARN, MaxRecordSizeInKiB: 10_240 })
      await stage.untilActive(name)
      const Records = [entry('first', Buffer.alloc(5 * MIB)), entry('second', Buffer.alloc(5 * MIB))]
      expect(await refusalOf(stage, name, Records)).toMatch(CALLERS_FAULT)
    },
  },
  {
    name: 'one bad entry refuses the whole PutRecords',
    run: async (stage) => {
      const { name } = await stage.stream()
      expect(await refusalOf(stage, name, [entry('good'), entry('x'.repeat(257))])).toMatch(CALLERS_FAULT)
    },
  },
  {
    name: 'beyond 1 MiB a second a PutRecords throttles the records of that shard alone, one by one',
    needs: 'limits',
    run: async (stage) => {
      const { name: StreamName } = await stage.stream(2)
      const Records = [0n, 0n, 0n, 0n, LAST_HASH_KEY].map((hashKey, index) => ({
        ...entry(`key-${index}`, Buffer.alloc(350_000)),
        ExplicitHashKey: String(hashKey),
      }))
      const answer = await stage.kinesis.putRecords({ StreamName, Records })
      const failed = answer.Records!.filter(({ ErrorCode }) => ErrorCode !== undefined)
      expect(failed.length, 'throttled records').toBeGreaterThan(0)
      expect(answer.FailedRecordCount).toBe(failed.length)
      for (const { ErrorCode, ErrorMessage, SequenceNumber, ShardId } of failed) {
        expect(ErrorCode).toBe('ProvisionedThroughputExceededException')
        expect(ErrorMessage).toMatch(/^Rate exceeded for shard shardId-000000000000 in stream/)
        expect([SequenceNumber, ShardId]).toEqual([undefined, undefined])
      }
      expect(answer.Records![0]!.SequenceNumber).toBeDefined()
      expect(answer.Records![4]!.ShardId).toBe('shardId-000000000001')
    },
  },
  {
    name: 'beyond 1 MiB a second PutRecord is refused with ProvisionedThroughputExceededException',
    needs: 'limits',
    run: async (stage) => {
      const { name: StreamName } = await stage.stream()
      // The second is let in by the little that is left and puts the shard almost a second into debt.
      const put = (bytes: number): Promise<string> =>
        refusal(stage.kinesis.putRecord({ StreamName, PartitionKey: 'key', Data: Buffer.alloc(bytes) }))
      expect([await put(900_000), await put(MIB - 3), await put(1)]).toEqual([
        'accepted',
        'accepted',
        'ProvisionedThroughputExceededException',
      ])
    },
  },
  {
    name: 'beyond 1,000 records a second a shard throttles',
    needs: 'limits',
    run: async (stage) => {
      const { name: StreamName } = await stage.stream()
      const Records = Array.from({ length: 500 }, (_, index) => entry(`key-${index}`, ''))
      const answers = await Promise.all(
        Array.from({ length: 4 }, () => stage.kinesis.putRecords({ StreamName, Records })),
      )
      const failed = answers.reduce((sum, { FailedRecordCount }) => sum + FailedRecordCount!, 0)
      expect(failed, 'throttled of 2,000').toBeGreaterThan(0)
      expect(failed).toBeLessThan(2_000)
    },
  },
]
