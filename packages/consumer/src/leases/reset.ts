import { backoffMs, type Clock, classifyError, type Kinesis, type Random, retry } from '@shardwise/core'
import type { Position } from '@shardwise/records'
import { ConsumerError } from '../errors.ts'
import { inParallel } from '../in-parallel.ts'
import { shardsOf } from '../streams/shard-list.ts'
import { leaseKeyOf, type StreamSource } from '../streams/stream-source.ts'
import type { Telemetry } from '../telemetry/telemetry.ts'
import { holderOf, type Lease, leaseFromItem, START_MS, TOKEN, TOP } from './lease.ts'
import { create, unchanged } from './lease-changes.ts'
import { liveWorkers } from './live-workers.ts'
import { checkResetOptions, chosenSources, type ResetOptions } from './reset-options.ts'
import { isShardPosition, planOfAll, planOfSome, type ResetPlan } from './reset-plan.ts'
import type { MissingLease } from './shard-sync.ts'
import { shardsAt } from './shards-at.ts'
import type { ItemChange, Table } from './table.ts'
import { leasesOf } from './table-state.ts'

/** A lease as it was reset. */
export interface ResetLease {
  /** The stream's name or ARN, as the consumer was given it. */
  readonly stream: string
  readonly shardId: string
  readonly checkpoint: Position
  /** Where reading starts if the checkpoint is LATEST or AT_TIMESTAMP, in milliseconds since 1970. */
  readonly startMs: number | undefined
}

export interface ResetParts {
  readonly table: Table
  readonly kinesis: Kinesis
  /** All streams of the application. */
  readonly sources: readonly StreamSource[]
  readonly application: string
  readonly failoverTime: number
  readonly clock: Clock
  readonly random: Random
  readonly telemetry: Telemetry
}

const RETRY_BACKOFF = { baseMs: 200, maxMs: 5_000 }
const ATTEMPTS = 8
/** A live holder writes every few seconds: to lose against it so often in a row isn't chance. */
const MAX_REFUSALS = 20
/** The KCL's two-phase checkpoint, and what is known only of a shard at its end. */
const FORMER = ['pendingCheckpoint', 'pendingCheckpointSubSequenceNumber', 'pendingCheckpointState', 'childShardIds']

/**
 * Puts the application's leases to another place, so that its next workers go on there. The new places are written first, and
 * what has to go is deleted then: if it stops half-way, nothing is skipped that wasn't meant to be, and doing it again completes it.
 * Every write is conditional on what was seen, and takes the lease from its holder, if it has one.
 *
 * @returns the leases that were set, in the order of the streams and of their shards
 * @throws {ConsumerError} `ERR_STATE` if a worker of the application lives; `ERR_STREAM` for a stream or shard that doesn't exist;
 *   `ERR_RECORD` for a sequence number that isn't the shard's
 */
export async function resetApplication(given: ResetOptions, parts: ResetParts): Promise<ResetLease[]> {
  checkResetOptions(given, parts.clock)
  const { signal = new AbortController().signal, force = false } = given
  const sources = chosenSources(given, parts.sources)
  signal.throwIfAborted()
  // Before anybody is waited for: a wrong name shows at once.
  await planFor(sources, given, parts, signal)
  if (!force) await refuseWhileLive(parts, signal)
  const plans = await planFor(sources, given, parts, signal)
  const done: ResetLease[] = []
  for (const { source, plan, leases } of plans) {
    await carryOut(plan, source, leases, parts, signal)
    for (const { shardId, checkpoint, startMs } of plan.starts) {
      done.push({ stream: source.stream, shardId, checkpoint, startMs })
    }
  }
  return done
}

async function refuseWhileLive(parts: ResetParts, signal: AbortSignal): Promise<void> {
  const live = await liveWorkers(parts, signal)
  if (live.size === 0) return
  const signs = [...live].map(([workerId, sign]) => `"${workerId}" (${sign})`)
  throw new ConsumerError(
    'ERR_STATE',
    `Expected all workers of the application "${parts.application}" to be closed, but there lives ${signs.join(', ')}. Close ` +
      'them first, all that run, or reset with force: true, which takes their leases from them. Nothing was written.',
  )
}

interface Planned {
  readonly source: StreamSource
  readonly plan: ResetPlan
  readonly leases: ReadonlyMap<string, Lease>
}

async function planFor(
  sources: readonly StreamSource[],
  { to, shards }: ResetOptions,
  parts: ResetParts,
  signal: AbortSignal,
): Promise<Planned[]> {
  const { table, kinesis, clock } = parts
  const all = leasesOf(await insist(() => table.scan({ consistent: true }), parts, signal))
  const plans: Planned[] = []
  for (const source of sources) {
    const leases = new Map([...all].filter(([, lease]) => lease.streamIdentifier === source.identifier))
    const own = [...leases.values()]
    // Where LATEST is: by the service's clock, since records are found again by its time of their arrival.
    let listedAtMs = clock.wallMs()
    const options = {
      signal,
      onServiceTime: (ms: number) => {
        listedAtMs = ms
      },
    }
    const stream = source.stream
    const some = isShardPosition(to) ? [to.shardId] : shards
    if (some === undefined && !isShardPosition(to)) {
      const open = await insist(() => shardsAt({ kinesis, clock, stream }, to, options), parts, signal)
      plans.push({ source, leases, plan: planOfAll(open, own, to, listedAtMs) })
    } else {
      const listed = await insist(() => shardsOf(kinesis, stream, options), parts, signal)
      plans.push({ source, leases, plan: planOfSome([...new Set(some)], listed, own, to, listedAtMs) })
    }
  }
  return plans
}

async function carryOut(
  { finished, starts, surplus }: ResetPlan,
  { identifier, stream }: StreamSource,
  leases: ReadonlyMap<string, Lease>,
  parts: ResetParts,
  signal: AbortSignal,
): Promise<void> {
  const { table } = parts
  await inParallel(finished, async (lease) => {
    const change = create({ ...lease, streamIdentifier: identifier })
    const childShardIds = { SS: [...lease.childShardIds] }
    // One that has come meanwhile says more.
    await insist(() => table.update({ ...change, set: { ...change.set, childShardIds } }), parts, signal)
  })
  await inParallel(starts, async (start) => {
    const key = leaseKeyOf(identifier, start.shardId)
    const write = async (lease: Lease | undefined): Promise<boolean> => {
      const change = lease === undefined ? create({ ...start, streamIdentifier: identifier }) : setTo(lease, start)
      return (await table.update(change)) !== undefined
    }
    await untilDone(key, leases.get(key), write, parts, signal)
    const { shardId, checkpoint } = start
    parts.telemetry.of(stream).emit({ type: 'leaseReset', shardId, checkpoint })
  })
  for (const lease of surplus) {
    const remove = async (seen: Lease | undefined): Promise<boolean> =>
      seen === undefined || (await table.delete('lease', seen.leaseKey, [unchanged(seen)]))
    await untilDone(lease.leaseKey, lease, remove, parts, signal)
  }
}

/** From what the lease is now, each time that it isn't as it was seen, or it isn't known whether it was written. */
async function untilDone(
  key: string,
  seen: Lease | undefined,
  write: (lease: Lease | undefined) => Promise<boolean>,
  parts: ResetParts,
  signal: AbortSignal,
): Promise<void> {
  let lease = seen
  let failures = 0
  for (let refusals = 0; refusals < MAX_REFUSALS; refusals++) {
    signal.throwIfAborted()
    try {
      if (await write(lease)) return
    } catch (error) {
      if (!isWorthAnother(error) || ++failures === ATTEMPTS) throw error
      await parts.clock.sleep(backoffMs(failures, RETRY_BACKOFF, parts.random), signal)
    }
    const item = await insist(() => parts.table.read('lease', key), parts, signal)
    lease = item && leaseFromItem(item)
  }
  throw new ConsumerError(
    'ERR_STATE',
    `The lease "${key}" was changed ${MAX_REFUSALS} times before it could be set, the last time by ` +
      `${(lease && holderOf(lease)) ?? 'nobody'}: the reset is half done. Close all workers of the application and do it again.`,
  )
}

/** Takes a lease from whoever has it and sets it to its new place. Its holder finds it lost, by the acquisition that is gone. */
function setTo(lease: Lease, { hashRange, parentShardIds, checkpoint, startMs }: MissingLease): ItemChange {
  return {
    kind: 'lease',
    key: lease.leaseKey,
    when: [unchanged(lease)],
    set: {
      leaseCounter: { N: String(lease.counter + 1) },
      checkpoint: { S: checkpoint.sequenceNumber },
      checkpointSubSequenceNumber: { N: String(checkpoint.subSequenceNumber) },
      ownerSwitchesSinceCheckpoint: { N: '0' },
      startingHashKey: { S: hashRange.start.toString() },
      endingHashKey: { S: hashRange.end.toString() },
      ...(parentShardIds.length > 0 && { parentShardId: { SS: [...parentShardIds] } }),
      ...(startMs !== undefined && { [START_MS]: { N: String(startMs) } }),
    },
    remove: ['leaseOwner', 'checkpointOwner', TOKEN, TOP, ...FORMER, ...(startMs === undefined ? [START_MS] : [])],
  }
}

/** For what may be done several times. */
function insist<T>(call: () => Promise<T>, { clock, random }: ResetParts, signal: AbortSignal): Promise<T> {
  const shouldRetry = (error: Error): boolean => !signal.aborted && isWorthAnother(error)
  return retry(call, { clock, random, signal, backoff: RETRY_BACKOFF, attempts: ATTEMPTS, shouldRetry })
}

function isWorthAnother(error: unknown): boolean {
  return !(error instanceof ConsumerError) && classifyError(error) !== 'fatal'
}
