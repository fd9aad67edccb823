import { type Position, TRIM_HORIZON } from '@shardwise/records'
import { beforeEach, describe, expect, test } from 'vitest'
import { ConsumerError } from '../errors.ts'
import type { Lease } from '../leases/lease.ts'
import { ConsumerRecord } from './consumer-record.ts'
import { ShardCheckpoints } from './shard-checkpoints.ts'

const at = (sequence: number, subSequenceNumber = 0): Position => ({
  sequenceNumber: String(sequence),
  subSequenceNumber,
})

function record(sequence: number, sub = 0, stream = 'flights', shardId = 'shard-1'): ConsumerRecord {
  const source = { stream, shardId, sequenceNumber: String(sequence), arrivedAt: undefined }
  return new ConsumerRecord(source, 'key', undefined, new Uint8Array(), sub, false)
}

let newest: Position | undefined
let lost: AbortController
let prepared: unknown[]
let isWritten: boolean
let checkpoints: ShardCheckpoints

beforeEach(() => {
  newest = at(10, 2)
  lost = new AbortController()
  prepared = []
  isWritten = true
  checkpoints = new ShardCheckpoints({
    stream: 'flights',
    newest: () => newest,
    finished: () => at(8),
    holder: {
      lease: { shardId: 'shard-1', checkpoint: at(3) } as Lease,
      lost: lost.signal,
      prepare: async (...given) => {
        prepared.push(given)
        return isWritten
      },
    },
  })
})

test('what was named may be written once everything up to it is finished', () => {
  checkpoints.checkpoint(record(7))
  expect(checkpoints.at(at(6))).toBeUndefined()
  expect(checkpoints.at(at(8))).toEqual(at(7))
  checkpoints.checkpointAt(at(8))
  checkpoints.checkpointAt(TRIM_HORIZON)
  expect(checkpoints.at(at(8))).toEqual(at(8))
})

describe('refused is', () => {
  test.each([
    ['one beyond what was delivered', record(10, 3)],
    ['one of another shard', record(5, 0, 'flights', 'shard-2')],
    ['one of another stream', record(5, 0, 'orders')],
    ['what is no record', 'latest' as unknown as ConsumerRecord],
    ['nothing', undefined as unknown as ConsumerRecord],
  ])('%s', async (_, wrong) => {
    const error = expect.objectContaining({ code: 'ERR_CHECKPOINT', message: expect.stringContaining('Expected') })
    expect(() => checkpoints.checkpoint(wrong)).toThrow(error)
    await expect(checkpoints.prepareCheckpoint(wrong, undefined)).rejects.toEqual(error)
  })

  test('any while none was delivered', () => {
    newest = undefined
    expect(() => checkpoints.checkpoint(record(1))).toThrow('none was yet')
  })

  test('a state that is no bytes', async () => {
    await expect(checkpoints.prepareCheckpoint(record(5), 'state' as unknown as Uint8Array)).rejects.toMatchObject({
      code: 'ERR_CHECKPOINT',
    })
  })

  test('everything once the lease is lost', async () => {
    lost.abort(new ConsumerError('ERR_LEASE_LOST', 'lost'))
    expect(() => checkpoints.checkpoint(record(5))).toThrow('lost')
    expect(() => checkpoints.checkpointAt(at(5))).toThrow('lost')
    await expect(checkpoints.prepareCheckpoint(record(5), undefined)).rejects.toMatchObject({ code: 'ERR_LEASE_LOST' })
  })
})

describe('in two phases', () => {
  test('it is announced with its state, and named when it is committed', async () => {
    const state = new Uint8Array([1])
    const { commit } = await checkpoints.prepareCheckpoint(record(7, 1), state)
    expect(prepared).toEqual([[at(7, 1), state, undefined]])
    expect(checkpoints.at(at(9))).toBeUndefined()
    commit()
    expect(checkpoints.at(at(9))).toEqual(at(7, 1))
  })

  test('the next is announced together with the one before, so that nobody forgets it', async () => {
    const { commit } = await checkpoints.prepareCheckpoint(record(7), undefined)
    commit()
    await checkpoints.prepareCheckpoint(record(9), undefined)
    expect(prepared.at(-1)).toEqual([at(9), undefined, at(7)])
  })

  test('one at or below the checkpoint is not announced', async () => {
    const { commit } = await checkpoints.prepareCheckpoint(record(3), undefined)
    commit()
    expect(prepared).toEqual([])
  })

  test('one that can not be announced rejects', async () => {
    isWritten = false
    await expect(checkpoints.prepareCheckpoint(record(7), undefined)).rejects.toMatchObject({ code: 'ERR_LEASE_LOST' })
  })
})
