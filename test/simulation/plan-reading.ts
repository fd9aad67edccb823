import type { Random } from '@shardwise/core'
import type { Fault, SubscriptionTrouble } from './faults.ts'
import type { Plan, ProducerPlan, Retrieval, WorkerPlan } from './plan.ts'
import { several, withFaults } from './plan-fleets.ts'
import { between, chance, integer, pick } from './randomness.ts'

/** More often what the library has to notice by itself. */
const TROUBLES: readonly SubscriptionTrouble[] = [
  'break',
  'stall',
  'stall',
  'end',
  'falseEnd',
  'InternalFailureException',
  'KMSThrottlingException',
  'ResourceInUseException',
  'ResourceNotFoundException',
]

/** The service's. */
const LIFETIME_MS = 300_000
const LASTING_MS = 330_000

/**
 * Half of the plans have workers that subscribe to their shards: all of them, some, or each as it was started last. And in a few a
 * worker that polls has much to catch up on.
 */
export function readingVaried(random: Random, plan: Plan): Plan {
  if (chance(random, 0.5)) {
    if (chance(random, 0.08)) return withCatchUp(random, plan)
    return !plan.isPrompt && chance(random, 0.1) ? withFalseEnds(random, plan) : plan
  }
  const retrieving = withRetrieval(random, plan)
  if (plan.isPrompt) return retrieving
  const troubled = withTroubles(random, retrieving)
  if (chance(random, 0.06)) return lasting(troubled)
  if (chance(random, 0.06)) return withUnlistedShards(random, troubled)
  return chance(random, 0.04) ? withOutage(random, troubled) : troubled
}

/** Nothing can be read, or put, for a minute. */
function withOutage(random: Random, plan: Plan): Plan {
  const atMs = Math.round(random() * plan.durationMs)
  const outage: Fault = {
    kind: 'errors',
    atMs,
    forMs: 60_000,
    service: 'kinesis',
    error: 'internalError',
    probability: 1,
  }
  return withFaults(plan, [outage])
}

/** Shards are new, the stream's listings don't have them yet, and the service doesn't find them. */
function withUnlistedShards(random: Random, plan: Plan): Plan {
  const atMs = Math.round((0.1 + 0.8 * random()) * plan.durationMs)
  const subscription = { kind: 'subscription', atMs, forMs: 7_000, act: 'ResourceNotFoundException', share: 1 } as const
  return withFaults(plan, [
    { kind: 'stale', atMs: Math.max(0, atMs - 4_000), forMs: 12_000, lagMs: 5_000 },
    { kind: 'reshard', atMs, act: pick(random, ['split', 'resize']), where: random() },
    { ...subscription, probability: pick(random, [0.3, 1]) },
  ])
}

/** So long that subscriptions come to the end of their life, with little to put. */
function lasting(plan: Plan): Plan {
  const producers = plan.producers.map((each) => ({ ...each, gapMs: Math.max(2_000, 4 * each.gapMs) }))
  return {
    ...plan,
    producers,
    durationMs: plan.durationMs + LASTING_MS,
    fanOut: { registerMs: 0, ...plan.fanOut, subscriptionMs: LIFETIME_MS },
  }
}

/** One worker comes late to shards that are full, and nobody else reads them. */
function withCatchUp(random: Random, plan: Plan): Plan {
  const startMs = integer(random, 10, 30) * 1_000
  const producer: ProducerPlan = {
    ...plan.producers[0]!,
    aggregation: false,
    paddingBytes: pick(random, [100, 5_000, 60_000]),
    gapMs: 150,
    burst: 5,
    recordTtl: 30_000,
  }
  const worker: WorkerPlan = {
    ...plan.workers[0]!,
    startMs,
    handlerMs: 0,
    concurrency: 64,
    maxRecords: pick(random, [100, 10_000]),
    // Less would say that the shard gives more than the service's does.
    idleTimeBetweenReads: pick(random, [200, 1_000]),
  }
  // Or its handlers don't come back for a while, with more before them than it may hold.
  const isStuck = chance(random, 0.3)
  const stuck: Fault = { kind: 'handlers', atMs: startMs, forMs: 25_000, act: 'hang', probability: 1 }
  const {
    formerTable: _table,
    streams: _streams,
    isPrompt: _prompt,
    distribution: _byKey,
    onDemand: _mode,
    ...rest
  } = plan
  return {
    ...rest,
    durationMs: startMs + 30_000,
    limits: true,
    shards: isStuck ? 8 : integer(random, 1, 3),
    retentionMs: 24 * 3_600_000,
    initialPosition: 'TRIM_HORIZON',
    producers: isStuck ? [{ ...producer, paddingBytes: 60_000 }] : [producer],
    workers: [worker],
    faults: isStuck ? [stuck] : [],
  }
}

/** Answers look as if the shard had ended, some of them while it ends. */
function withFalseEnds(random: Random, plan: Plan): Plan {
  const faults = several(
    random,
    [1, 2],
    plan,
    (atMs): Fault => ({
      kind: 'errors',
      atMs,
      forMs: Math.round(between(random, 100, 15_000)),
      service: 'kinesis',
      error: 'falseEnd',
      probability: pick(random, [0.05, 0.3, 1]),
    }),
  )
  const troubled = withFaults(plan, faults)
  const reshards = several(
    random,
    [1, 2],
    troubled,
    (atMs): Fault => ({ kind: 'reshard', atMs, act: 'split', where: random() }),
  )
  return withFaults(troubled, reshards)
}

function withRetrieval(random: Random, plan: Plan): Plan {
  const way = pick(random, ['all', 'all', 'all', 'mixed', 'changing'])
  const registerMs = plan.isPrompt ? 0 : pick(random, [0, 0, 300, 3_000])
  // A minute's run should see many ends of subscriptions, and one of 7 minutes the service's own.
  const subscriptionMs = chance(random, 0.3) ? LIFETIME_MS : pick(random, [6_000, 20_000, 60_000])
  const retrievals = (): readonly Retrieval[] => {
    if (way === 'all') return ['fanOut']
    if (way === 'mixed') return [pick(random, ['polling', 'fanOut'])]
    return chance(random, 0.5) ? ['polling', 'fanOut'] : ['fanOut', 'polling']
  }
  const workers = plan.workers.map((worker) => (worker.isForeign ? worker : { ...worker, retrieval: retrievals() }))
  const isByArn = plan.streams === undefined && chance(random, 0.2)
  const fanOut = { registerMs, subscriptionMs, ...(isByArn && { isByArn }) }
  return way === 'changing' ? withRestarts(random, { ...plan, workers, fanOut }) : { ...plan, workers, fanOut }
}

/** So that they change it. */
function withRestarts(random: Random, plan: Plan): Plan {
  if (plan.isPrompt) return plan
  const startMs = random() * plan.durationMs
  const gapMs = pick(random, [0, 300, 2 * plan.failoverTime])
  const faults = plan.workers.map(({ place }, index): Fault => {
    const atMs = Math.round(startMs + index * gapMs)
    const restartMs = pick(random, [0, 500, plan.failoverTime])
    return chance(random, 0.6)
      ? { kind: 'leave', atMs, place, restartMs, keepsName: chance(random, 0.5) }
      : { kind: 'kill', atMs, place, afterSends: integer(random, 0, 6), restartMs, renamed: chance(random, 0.5) }
  })
  return withFaults(plan, faults)
}

function withTroubles(random: Random, plan: Plan): Plan {
  const subscriptions = several(
    random,
    [0, 1, 2, 4],
    plan,
    (atMs): Fault => ({
      kind: 'subscription',
      atMs,
      forMs: Math.round(between(random, 100, 15_000)),
      act: pick(random, TROUBLES),
      share: pick(random, [0.3, 0.6, 1]),
      probability: pick(random, [0.05, 0.3, 1]),
    }),
  )
  const deregistrations = several(random, [0, 0, 0, 0, 1, 2], plan, (atMs): Fault => ({ kind: 'deregister', atMs }))
  const reshards = several(
    random,
    [0, 0, 1, 2],
    plan,
    (atMs): Fault => ({
      kind: 'reshard',
      atMs,
      act: pick(random, ['split', 'split', 'merge', 'resize']),
      where: random(),
    }),
  )
  const troubled = withFaults(plan, [...subscriptions, ...deregistrations, ...reshards])
  return chance(random, 0.15) ? withFullWindows(random, troubled) : troubled
}

/** Handlers that are slow for a while have megabytes queue up before them. */
function withFullWindows(random: Random, plan: Plan): Plan {
  const large = { paddingBytes: 60_000, gapMs: 300, burst: 3, aggregation: false }
  const slow: Fault = {
    kind: 'handlers',
    atMs: Math.round((random() * plan.durationMs) / 2),
    forMs: integer(random, 5, 40) * 1_000,
    act: pick(random, ['slow', 'hang']),
    probability: 0.9,
  }
  const workers = plan.workers.map((worker): WorkerPlan => ({ ...worker, handlerMs: Math.min(1, worker.handlerMs) }))
  const producers = plan.producers.map((producer, index) => (index === 0 ? { ...producer, ...large } : producer))
  return withFaults({ ...plan, workers, producers }, [slow])
}
