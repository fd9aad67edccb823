import { expect, test } from 'vitest'
import { liveBlock, type Progress, plainLine, Rates } from './progress.ts'

const progress: Progress = {
  elapsedMs: 12_340,
  total: 3_000_000,
  put: 1_500_000,
  acknowledged: 1_490_000,
  delivered: 1_234_567,
  deliveredBytes: 130e6,
  userRecordsPerKinesisRecord: 412.4,
  shards: [
    { shardId: 'shardId-000000000000', owner: 'worker-1', recordsBehind: 12_345 },
    { shardId: 'shardId-000000000012', owner: undefined, recordsBehind: 7 },
  ],
}
const rates = { records: 98_765, bytes: 10.5e6 }

test('the live block shows how far it is, how fast, and each shard with its owner and lag', () => {
  expect(liveBlock(progress, rates)).toEqual([
    'put           1,500,000  50 %  ███████████████░░░░░░░░░░░░░░░',
    'acknowledged  1,490,000  49 %  ██████████████░░░░░░░░░░░░░░░░',
    'delivered     1,234,567  41 %  ████████████░░░░░░░░░░░░░░░░░░',
    '12.3 s   98,765 records/s   11 MB/s   412 user records per Kinesis record',
    'shardId-000000000000  worker-1  12,345 behind',
    'shardId-000000000012  no owner       7 behind',
  ])
})

test('the plain line says the same in one', () => {
  expect(plainLine(progress, rates)).toBe(
    '12.3 s: put 1,500,000, acknowledged 1,490,000, delivered 1,234,567 of 3,000,000; 98,765 records/s, 11 MB/s, ' +
      '412 per Kinesis record; behind: shard 0 worker-1 12,345, shard 12 no owner 7',
  )
})

test('rates are over the last two seconds', () => {
  const over = new Rates()
  const at = (elapsedMs: number, delivered: number) =>
    over.at({ ...progress, elapsedMs, delivered, deliveredBytes: delivered * 100 })
  expect(at(0, 0)).toEqual({ records: 0, bytes: 0 })
  expect(at(1_000, 500)).toEqual({ records: 500, bytes: 50_000 })
  expect(at(2_000, 1_000).records).toBe(500)
  expect(at(3_000, 3_500).records).toBe(1_500)
})
