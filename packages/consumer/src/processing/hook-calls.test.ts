import { ManualClock, settle } from '@shardwise/core/testing'
import { beforeEach, describe, expect, test } from 'vitest'
import type { Lease } from '../leases/lease.ts'
import type { StreamEvent } from '../telemetry/telemetry.ts'
import { HookCalls } from './hook-calls.ts'
import type { ShardCheckpoints } from './shard-checkpoints.ts'
import type { HookContext, ShardHooks } from './shard-hooks.ts'
import type { Failure } from './shard-session.ts'

const lease = { shardId: 'shard-1', checkpoint: { sequenceNumber: '7', subSequenceNumber: 0 } } as Lease
const finished = { sequenceNumber: '9', subSequenceNumber: 0 }

let clock: ManualClock
let events: StreamEvent[]
let rests: Failure[]
let stop: AbortController
let patience: AbortController

beforeEach(() => {
  clock = new ManualClock()
  events = []
  rests = []
  stop = new AbortController()
  patience = new AbortController()
})

function callsOf(hooks: ShardHooks, checkpoints?: ShardCheckpoints): HookCalls {
  return new HookCalls({
    hooks,
    clock,
    source: { stream: 'flights', identifier: undefined, initialPosition: 'TRIM_HORIZON' },
    holder: { lease },
    random: () => 0.5,
    maxAttempts: 3,
    telemetry: { emit: (event) => events.push(event) },
    sessions: {
      checkpoints,
      finished,
      rest: async (failure) => {
        rests.push(failure)
      },
      recovered: () => {},
    },
  })
}

/** Fails so many times. */
function failing(times: number): { readonly attempts: number[]; readonly hook: () => void } {
  const attempts: number[] = []
  return {
    attempts,
    hook: () => {
      attempts.push(attempts.length + 1)
      if (attempts.length <= times) throw new Error('no good')
    },
  }
}

const never = (): Promise<void> => new Promise(() => {})

/** What has become of it by now. */
function outcomeOf(work: Promise<void>): { readonly now: () => string } {
  let outcome = 'pending'
  work.then(
    () => {
      outcome = 'done'
    },
    (error: unknown) => {
      outcome = String(error)
    },
  )
  return { now: () => outcome }
}

describe('the hook at the start', () => {
  test('gets the shard, and is called until it has succeeded, however often that is', async () => {
    const { attempts, hook } = failing(12)
    const shards: unknown[] = []
    const calls = callsOf({
      onShardStart: (shard, { attempt }) => {
        shards.push(shard)
        expect(attempt).toBe(shards.length)
        hook()
      },
    })
    const started = outcomeOf(calls.start(stop.signal))
    await clock.advance(300_000)
    expect([attempts.length, started.now()]).toEqual([13, 'done'])
    expect(shards[0]).toEqual({ stream: 'flights', ...lease, pendingCheckpoint: undefined })
    expect(events).toHaveLength(12)
    expect(events[0]).toMatchObject({ type: 'hookFailed', hook: 'onShardStart', attempt: 1, retryInMs: 100 })
  })

  test('ends a moment after its signal is aborted, whether it heeds it or not', async () => {
    const started = outcomeOf(callsOf({ onShardStart: never }).start(stop.signal))
    await clock.advance(60_000)
    stop.abort('stopping')
    await clock.advance(249)
    expect(started.now()).toBe('pending')
    await clock.advance(1)
    expect(started.now()).toBe('stopping')
    expect(clock.sleeping).toBe(0)
  })

  test('that fails is called no more once its signal is aborted', async () => {
    const { attempts, hook } = failing(99)
    const started = outcomeOf(callsOf({ onShardStart: hook }).start(stop.signal))
    await clock.advance(1_000)
    const before = attempts.length
    stop.abort('stopping')
    await clock.advance(60_000)
    expect([attempts.length, started.now()]).toEqual([before, 'stopping'])
  })
})

describe('the hook at the end', () => {
  test('is tried so often, then the shard stops, and it is tried once after each rest', async () => {
    const { attempts, hook } = failing(5)
    const ended = outcomeOf(callsOf({ onShardEnd: hook }).end(patience.signal, stop.signal))
    await clock.advance(10_000)
    expect([attempts.length, ended.now()]).toEqual([6, 'done'])
    expect(rests.map((failure) => failure.attempts)).toEqual([3, 4, 5])
    expect(events.map((event) => event.type === 'hookFailed' && event.retryInMs)).toEqual([
      100,
      200,
      undefined,
      undefined,
      undefined,
    ])
  })

  test('may finish while the shard is being given up, until patience is over', async () => {
    const { promise, resolve } = Promise.withResolvers<void>()
    const calls = callsOf({ onShardStart: () => {}, onShardEnd: () => promise, onShardRelease: () => events.push() })
    const ended = outcomeOf(calls.end(patience.signal, stop.signal))
    stop.abort('stopping')
    await clock.advance(5_000)
    expect(ended.now()).toBe('pending')
    resolve()
    await settle()
    expect(ended.now()).toBe('done')
  })

  test('that hangs ends a moment after patience is over', async () => {
    const ended = outcomeOf(callsOf({ onShardEnd: never }).end(patience.signal, stop.signal))
    stop.abort('stopping')
    patience.abort('too slow')
    await clock.advance(250)
    expect(ended.now()).toBe('stopping')
    expect(clock.sleeping).toBe(0)
  })
})

describe('what follows a start', () => {
  /** The hooks that were called: the start succeeds unless it is told otherwise. */
  function recording(failures: readonly (keyof ShardHooks)[] = []): {
    readonly called: string[]
    readonly calls: HookCalls
  } {
    const called: string[] = []
    const hook = (name: keyof ShardHooks) => () => {
      called.push(name)
      if (failures.includes(name)) throw new Error('no good')
    }
    const calls = callsOf({
      onShardStart: hook('onShardStart'),
      onShardEnd: hook('onShardEnd'),
      onShardRelease: hook('onShardRelease'),
      onLeaseLost: hook('onLeaseLost'),
    })
    return { called, calls }
  }

  test('is nothing if there was none, or none that succeeded', async () => {
    const { called, calls } = recording(['onShardStart'])
    await calls.release(patience.signal)
    const started = calls.start(stop.signal)
    await settle()
    stop.abort('stopping')
    await expect(started).rejects.toBe('stopping')
    await calls.release(patience.signal)
    await calls.lost(patience.signal)
    expect(called).toEqual(['onShardStart'])
  })

  test('is one of the three, once', async () => {
    const { called, calls } = recording()
    await calls.start(stop.signal)
    await calls.end(patience.signal, stop.signal)
    await calls.release(patience.signal)
    await calls.lost(patience.signal)
    expect(called).toEqual(['onShardStart', 'onShardEnd'])
  })

  test('is the loss of the lease after a release that has failed', async () => {
    const { called, calls } = recording(['onShardRelease', 'onLeaseLost'])
    await calls.start(stop.signal)
    await calls.release(patience.signal)
    await calls.lost(patience.signal)
    expect(called).toEqual(['onShardStart', 'onShardRelease', 'onLeaseLost'])
    expect(events).toMatchObject([{ hook: 'onShardRelease', retryInMs: undefined }, { hook: 'onLeaseLost' }])
  })
})

describe('a checkpoint of a hook', () => {
  test('is at what it names, or at everything that is finished', async () => {
    const made: unknown[] = []
    const checkpoints = {
      checkpoint: (record: unknown) => made.push(record),
      checkpointAt: (position: unknown) => made.push(position),
    } as unknown as ShardCheckpoints
    const record = {} as Parameters<HookContext['checkpoint']>[0]
    const calls = callsOf(
      {
        onShardStart: (_, { checkpoint }) => {
          checkpoint()
          checkpoint(record)
        },
      },
      checkpoints,
    )
    await calls.start(stop.signal)
    expect(made).toEqual([finished, record])
  })

  test('is refused where checkpoints are automatic', async () => {
    const codes: unknown[] = []
    const calls = callsOf({
      onShardStart: async (_, { checkpoint, prepareCheckpoint }) => {
        try {
          checkpoint()
        } catch (error) {
          codes.push(Object(error).code)
        }
        await prepareCheckpoint({} as never).catch((error: unknown) => codes.push(Object(error).code))
      },
    })
    await calls.start(stop.signal)
    expect(codes).toEqual(['ERR_STATE', 'ERR_STATE'])
  })
})
