import { expect, test } from 'vitest'
import { Ledger } from './ledger.ts'

const place = { shardId: 'shardId-000000000001', sequenceNumber: '7', subSequenceNumber: 0 }
const delivery = { number: 0, key: 'ATL', value: 5, crc: 1, bytes: 100, at: 10, ...place }

test('a record is behind in the shard of its receipt from acknowledgement to first delivery, in whichever order they come', () => {
  const ledger = new Ledger(2)
  for (const number of [0, 1]) ledger.notePut('ATL', 100, number + 1)
  ledger.noteReceipt(0, { ...place, earlierCopy: 'misplaced' })
  expect(ledger.shards.get(place.shardId)).toEqual({ acknowledged: 1, behind: 1 })
  ledger.noteDelivery({ ...delivery, shardId: 'shardId-000000000002' }, 0)
  expect(ledger.shards.get(place.shardId)).toEqual({ acknowledged: 1, behind: 0 })
  ledger.noteDelivery({ ...delivery, number: 1, crc: 2 }, 0)
  ledger.noteReceipt(1, { ...place, earlierCopy: undefined })
  expect(ledger.shards.get(place.shardId)).toEqual({ acknowledged: 2, behind: 0 })
})

test.each(['before', 'after'])(
  'a misplaced copy alone confirms nothing, the one at the place of the receipt does; both %s the receipt',
  (when) => {
    const ledger = new Ledger(1)
    ledger.notePut('ATL', 100, 1)
    const receive = (): void => ledger.noteReceipt(0, { ...place, earlierCopy: 'misplaced' })
    if (when === 'after') receive()
    ledger.noteDelivery({ ...delivery, shardId: 'shardId-000000000002', at: 9 }, 0)
    expect([ledger.delivered, ledger.confirmed]).toEqual([1, 0])
    ledger.noteDelivery(delivery, 1)
    if (when === 'before') receive()
    expect([ledger.delivered, ledger.confirmed, ledger.isConfirmed(0)]).toEqual([1, 1, true])
    ledger.noteDelivery({ ...delivery, at: 11 }, 1)
    expect(ledger.confirmed).toBe(1)
  },
)

test('counts, bytes and sums are of first deliveries only', () => {
  const ledger = new Ledger(1)
  ledger.notePut('ATL', 100, 1)
  for (const worker of [0, 1]) ledger.noteDelivery({ ...delivery, at: 10 - worker }, worker)
  expect(ledger).toMatchObject({ delivered: 1, deliveredBytes: 100, handled: [1, 1] })
  expect(ledger.totals).toEqual(new Map([['ATL', { count: 1, sum: 5 }]]))
  expect(ledger.firstDelivery(0)).toMatchObject({ at: 9, worker: 1 })
  expect(ledger.repeats).toMatchObject([{ at: 10, worker: 0 }])
})

test('user records per Kinesis record are counted by the receipts', () => {
  const ledger = new Ledger(3)
  for (const [number, sequenceNumber] of ['7', '7', '8'].entries()) {
    ledger.notePut('ATL', 100, 1)
    ledger.noteReceipt(number, { ...place, sequenceNumber, earlierCopy: undefined })
  }
  expect(ledger.userRecordsPerKinesisRecord).toBe(1.5)
})
