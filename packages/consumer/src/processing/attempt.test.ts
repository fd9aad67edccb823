import { settle } from '@shardwise/core/testing'
import { describe, expect, test } from 'vitest'
import { poolOf, shardOf } from '../../test/pool-stage.ts'
import { Attempt } from './attempt.ts'
import { handlerOf } from './handler.ts'
import type { HandlerContext, ManualCheckpoints } from './handlers.ts'

function checkpointsOf(): ManualCheckpoints & { readonly told: unknown[] } {
  const told: unknown[] = []
  return {
    told,
    checkpoint: (record) => told.push(record.text()),
    prepareCheckpoint: async (record, state) => {
      told.push([record.text(), state])
      return { commit: () => told.push('committed') }
    },
  }
}

describe('a checkpoint of the handler', () => {
  test('is at its own record, or the last of its batch, unless it names one; its functions may be taken out', async () => {
    const checkpoints = checkpointsOf()
    const { pool } = poolOf((_, { checkpoint }) => checkpoint())
    pool.add(shardOf('s', ['a', 'b'], { checkpoints }))
    await settle()
    expect(checkpoints.told).toEqual(['0', '1'])
    const ofBatch = checkpointsOf()
    const batch = { maxRecords: 100, maxBytes: 2 ** 20, maxWaitMs: 0 }
    const eachBatch = async (records: unknown[], { checkpoint, prepareCheckpoint }: HandlerContext): Promise<void> => {
      checkpoint()
      checkpoint(records[0] as never)
      const prepared = await prepareCheckpoint(undefined, Buffer.from('note'))
      prepared.commit()
    }
    const { pool: other } = poolOf(handlerOf({ eachBatch }, undefined))
    other.add(shardOf('s', ['a', 'b', 'c'], { checkpoints: ofBatch, batch }))
    await settle()
    expect(ofBatch.told).toEqual(['2', '0', ['2', Buffer.from('note')], 'committed'])
  })

  test('is refused where checkpoints are automatic', async () => {
    const context = new Attempt({ signal: new AbortController().signal }, 1, undefined, false)
    expect(() => context.checkpoint()).toThrow("Expected a consumer with checkpointing: 'manual'")
    await expect(context.prepareCheckpoint()).rejects.toMatchObject({ code: 'ERR_STATE' })
  })
})

describe('the signal', () => {
  test('of an attempt that is not timed is its shard’s', () => {
    const { signal } = new AbortController()
    expect(new Attempt({ signal }, 1, undefined, false).signal).toBe(signal)
  })

  test('of a timed one is aborted with the first reason, asked for before or after', () => {
    const shard = new AbortController()
    const [before, after] = [1, 2].map((attempt) => new Attempt(shard, attempt, undefined, true))
    const { signal } = before!
    for (const attempt of [before!, after!]) {
      attempt.abort('too slow')
      attempt.abort('lost')
    }
    expect([signal.reason, before!.signal, after!.signal.reason]).toEqual(['too slow', signal, 'too slow'])
    expect(shard.signal.aborted).toBe(false)
    shard.abort('lost')
    expect(new Attempt(shard, 3, undefined, true).signal.reason).toBe('lost')
  })
})
