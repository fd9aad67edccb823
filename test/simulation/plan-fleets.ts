import type { Random } from '@shardwise/core'
import { ANY_WORKER, type Fault, LEADER_PLACE } from './faults.ts'
import type { Plan, WorkerPlan } from './plan.ts'
import { FOREIGN } from './process.ts'
import { between, chance, integer, pick } from './randomness.ts'
import { TABLE_WRITES, type TableWrite } from './table-requests.ts'

type Vary = (random: Random, plan: Plan) => Plan

/** Makes a plan hard for its workers and their table in a few ways at once, or in none. */
export function fleetVaried(random: Random, plan: Plan): Plan {
  if (chance(random, 0.5)) return plan
  if (chance(random, 0.15)) return withOneChangeAtATime(random, plan)
  return VARIATIONS.reduce((sofar, { vary, share }) => (chance(random, share) ? vary(random, sofar) : sofar), plan)
}

/** New ones at the end: then what the others draw stays the same. */
const VARIATIONS: readonly { readonly vary: Vary; readonly share: number }[] = [
  { vary: withCrashesAtWrites, share: 0.5 },
  { vary: withPausesAtWrites, share: 0.35 },
  { vary: withLeaderChanges, share: 0.3 },
  { vary: withRollingRestarts, share: 0.3 },
  { vary: withManyWorkers, share: 0.3 },
  { vary: withFleetOptions, share: 0.3 },
  { vary: withOtherStart, share: 0.3 },
  { vary: withLateIndex, share: 0.3 },
  { vary: withOperator, share: 0.3 },
  { vary: withStrangeAttributes, share: 0.3 },
  { vary: withForeignWorkers, share: 0.2 },
  { vary: withFormerTable, share: 0.2 },
  { vary: withSeveralStreams, share: 0.3 },
  { vary: withSuspensions, share: 0.3 },
  { vary: withClocksSet, share: 0.15 },
]

/** More often those that hand something on to others; without those that only some handlers ask for. */
const WRITES: readonly TableWrite[] = [
  ...TABLE_WRITES.filter((write) => write !== 'prepare'),
  'handoff',
  'handoffRelease',
  'handoffRelease',
  'shardEnd',
  'createLease',
  'createLease',
  'assign',
  'acquire',
  'leaderLock',
]

function withCrashesAtWrites(random: Random, plan: Plan): Plan {
  const faults = several(random, [1, 2, 3, 5], plan, (atMs): Fault => {
    const write = pick(random, WRITES)
    return {
      kind: 'killAtWrite',
      atMs: armedAtMs(random, write, atMs),
      place: placeOf(random, plan),
      write,
      nth: pick(random, [1, 1, 1, 2, 3, 5]),
      when: pick(random, ['before', 'after']),
      restartMs: Math.round(random() * 2 * plan.failoverTime),
      renamed: chance(random, 0.5),
    }
  })
  return withMoves(random, withFaults(plan, faults))
}

function withPausesAtWrites(random: Random, plan: Plan): Plan {
  const faults = several(random, [1, 2, 3], plan, (atMs): Fault => {
    const write = pick(random, WRITES)
    return {
      kind: 'pauseAtWrite',
      atMs: armedAtMs(random, write, atMs),
      place: placeOf(random, plan),
      write,
      nth: pick(random, [1, 1, 2, 3]),
      when: pick(random, ['before', 'after']),
      forMs: Math.round(between(random, 0.2, 4) * plan.failoverTime),
    }
  })
  return withMoves(random, withFaults(plan, faults))
}

/** The table is made but once, and some of the others come seldom. */
function armedAtMs(random: Random, write: TableWrite, atMs: number): number {
  return write === 'createTable' || write === 'tableState' || chance(random, 0.4) ? 0 : atMs
}

/** Whoever leads dies, is paused, leaves, or doesn't reach the table. */
function withLeaderChanges(random: Random, plan: Plan): Plan {
  const { failoverTime } = plan
  const faults = several(random, [1, 2, 4], plan, (atMs): Fault => {
    const place = LEADER_PLACE
    const forMs = Math.round(between(random, 0.5, 4) * failoverTime)
    const restartMs = Math.round(random() * 2 * failoverTime)
    const afterSends = integer(random, 0, 6)
    const kind = pick(random, ['kill', 'kill', 'pause', 'leave', 'partition'])
    if (kind === 'kill') return { kind, atMs, place, afterSends, restartMs, renamed: chance(random, 0.5) }
    if (kind === 'pause') return { kind, atMs, place, afterSends, forMs }
    if (kind === 'leave') return { kind, atMs, place, restartMs, keepsName: chance(random, 0.5) }
    return { kind: 'partition', atMs, forMs, place, service: 'dynamodb', cut: pick(random, ['requests', 'answers']) }
  })
  return withFaults(plan, faults)
}

/** One worker after the other leaves and comes back, as when a new version is rolled out. */
function withRollingRestarts(random: Random, plan: Plan): Plan {
  const keepsName = chance(random, 0.5)
  const gapMs = pick(random, [0, 300, 0.3 * plan.failoverTime, 2 * plan.failoverTime])
  const startMs = random() * plan.durationMs
  const restartMs = pick(random, [0, 500, plan.failoverTime])
  const faults = plan.workers.map(
    ({ place }, index): Fault => ({
      kind: 'leave',
      atMs: Math.round(startMs + index * gapMs),
      place,
      restartMs,
      keepsName,
    }),
  )
  return withFaults(plan, faults)
}

/** More than there are shards, perhaps, some of them late. */
function withManyWorkers(random: Random, plan: Plan): Plan {
  const model = pick(random, plan.workers)
  const added = Array.from({ length: integer(random, 2, 5) }, (_, index) => ({
    ...model,
    place: `worker-${plan.workers.length + index}`,
    startMs: Math.round(chance(random, 0.7) ? random() * 500 : random() * plan.durationMs),
  }))
  return { ...plan, workers: [...plan.workers, ...added] }
}

function withFleetOptions(random: Random, plan: Plan): Plan {
  const { failoverTime } = plan
  return eachWorker(plan, (worker, index) => ({
    ...worker,
    // Somebody has to take what the others don't.
    ...(index > 0 && chance(random, 0.4) && { maxLeases: integer(random, 1, 3) }),
    ...(chance(random, 0.4) && { checkpointIntervalMs: Math.max(10, pick(random, [10, 100, failoverTime / 10])) }),
    ...(chance(random, 0.3) && { closeTimeout: pick(random, [0, 50, 1_000]) }),
  }))
}

/** At a time, or at the tip though nobody is up yet. */
function withOtherStart(random: Random, plan: Plan): Plan {
  const lateMs = Math.round((random() * plan.durationMs) / 2)
  const late = eachWorker(plan, (worker) => ({ ...worker, startMs: Math.max(lateMs, worker.startMs) }))
  if (chance(random, 0.4)) return { ...late, initialPosition: 'LATEST' }
  return { ...late, initialPosition: 'AT_TIMESTAMP', startAtMs: Math.round(between(random, -0.2, 1) * lateMs) }
}

/** The index is behind while the table itself isn't. */
function withLateIndex(random: Random, plan: Plan): Plan {
  const faults = several(
    random,
    [0, 1, 2],
    plan,
    (atMs): Fault => ({
      kind: 'staleIndex',
      atMs,
      forMs: Math.round(between(random, 1, 6) * plan.failoverTime),
      lagMs: pick(random, [1_000, 5_000, 20_000]),
    }),
  )
  return withFaults({ ...plan, indexLagMs: pick(random, [20, 200, 1_000]) }, faults)
}

/** Without their lease nobody would know any more where shards that start at the tip were. */
function withOperator(random: Random, plan: Plan): Plan {
  const acts = plan.initialPosition === 'TRIM_HORIZON' ? ACTS : ACTS.filter((act) => act !== 'deleteLease')
  const faults = several(
    random,
    [1, 2, 3],
    plan,
    (atMs): Fault => ({
      kind: 'operator',
      atMs,
      act: pick(random, acts),
      where: random(),
    }),
  )
  return withFaults(plan, faults)
}

const ACTS = ['deleteLease', 'clearLeader', 'deleteEntry'] as const

function withStrangeAttributes(_: Random, plan: Plan): Plan {
  return { ...plan, hasStrangeAttributes: true }
}

/** Workers of the KCL, next to ours. They read from the oldest record only, and as fast as they like. */
function withForeignWorkers(random: Random, plan: Plan): Plan {
  if (plan.initialPosition !== 'TRIM_HORIZON') return plan
  const added = Array.from({ length: integer(random, 1, 2) }, (_, index) => ({
    ...plan.workers[0]!,
    place: `${FOREIGN}${index}`,
    isForeign: true,
    startMs: Math.round(2_000 + random() * plan.durationMs),
  }))
  const faults = several(random, [0, 1, 2], plan, (atMs): Fault => {
    const { place } = pick(random, added)
    const restartMs = Math.round(random() * 2 * plan.failoverTime)
    return chance(random, 0.5)
      ? { kind: 'leave', atMs, place, restartMs, keepsName: chance(random, 0.5) }
      : { kind: 'kill', atMs, place, afterSends: integer(random, 0, 6), restartMs, renamed: chance(random, 0.5) }
  })
  return withFaults({ ...plan, workers: [...plan.workers, ...added] }, faults)
}

const WATCHED_MS = 60_000

/** Workers of a KCL had the application before, up to some time. */
function withFormerTable(random: Random, plan: Plan): Plan {
  // A KCL makes the index where it is missing; ours do without.
  const isOf3x = plan.workers.some(({ isForeign }) => isForeign) || chance(random, 0.3)
  const formerTable = {
    leftAtMs: Math.round(between(random, 0.1, 0.6) * plan.durationMs),
    hasIndex: isOf3x || chance(random, 0.2),
    hasTypes: isOf3x,
    hasRanges: isOf3x || chance(random, 0.7),
    isOf3x,
  }
  const livesMs = Math.round(between(random, 0.2, 6) * plan.failoverTime)
  // A table of older rules is looked at for a minute before anything happens.
  const watchedMs = isOf3x ? 0 : WATCHED_MS
  const longer = withMoves(random, { ...plan, durationMs: plan.durationMs + watchedMs })
  const late = eachWorker(longer, (worker) => ({ ...worker, startMs: formerTable.leftAtMs + worker.startMs }))
  return {
    ...late,
    initialPosition: 'TRIM_HORIZON',
    formerTable: {
      ...formerTable,
      ...(!isOf3x && chance(random, 0.4) && { livesUntilMs: formerTable.leftAtMs + livesMs }),
    },
  }
}

/** The application reads the side stream too, always or for some time. Neither foreign workers nor former tables know of that. */
function withSeveralStreams(random: Random, plan: Plan): Plan {
  if (plan.formerTable !== undefined || plan.workers.some(({ isForeign }) => isForeign)) return plan
  const by = pick(random, ['list', 'function', 'where'] as const)
  const atMs = Math.round(random() * plan.durationMs)
  const laterMs = atMs + Math.round(random() * 90_000)
  const times = pick(random, [{}, { addedAtMs: atMs }, { removedAtMs: atMs }, { removedAtMs: atMs, backAtMs: laterMs }])
  const isForGood = 'removedAtMs' in times && !('backAtMs' in times)
  return {
    ...plan,
    durationMs: Math.max(plan.durationMs, laterMs),
    streams: { by, formerStreamWaitMs: isForGood ? 2_000 : 3_600_000, ...(by !== 'list' && times) },
    producers: plan.producers.map((producer) => ({ ...producer, sideShare: pick(random, [0.3, 0.6]) })),
  }
}

/** Some pauses are those of a machine that sleeps. */
function withSuspensions(random: Random, plan: Plan): Plan {
  const faults = plan.faults.map((fault) =>
    (fault.kind === 'pause' && !fault.place.startsWith('producer')) || fault.kind === 'pauseAtWrite'
      ? { ...fault, isSuspended: chance(random, 0.7) }
      : fault,
  )
  return { ...plan, faults }
}

function withClocksSet(random: Random, plan: Plan): Plan {
  const faults = several(
    random,
    [1, 2, 4],
    plan,
    (atMs): Fault => ({
      kind: 'clock',
      atMs,
      place: pick(random, plan.workers).place,
      byMs: pick(random, [-3_600_000, -5_000, 5_000, 3_600_000]),
    }),
  )
  return withFaults(plan, faults)
}

/** Nothing else goes wrong, and before each change the fleet has come to rest. */
function withOneChangeAtATime(random: Random, plan: Plan): Plan {
  const failoverTime = pick(random, [1_000, 3_000, 10_000])
  const gapMs = 8 * failoverTime + 5_000
  const count = failoverTime === 10_000 ? 1 : 3
  const workers = Array.from({ length: integer(random, 2, 4) }, (_, index) => ({
    ...plan.workers[0]!,
    place: `worker-${index}`,
    // The last one joins a fleet that is at rest.
    startMs: index > 1 && chance(random, 0.3) ? gapMs : Math.round(random() * 500),
    handlerMs: 0,
    idleTimeBetweenReads: 200,
  }))
  const isGentle = chance(random, 0.4)
  const faults = Array.from({ length: count }, (_, index): Fault => {
    const atMs = (index + 2) * gapMs + Math.round(random() * failoverTime)
    const place = chance(random, 0.4) ? LEADER_PLACE : pick(random, workers).place
    const restartMs = pick(random, [500, 3 * failoverTime])
    const keepsName = chance(random, 0.5)
    if (isGentle || chance(random, 0.3)) return { kind: 'leave', atMs, place, restartMs, keepsName }
    return { kind: 'kill', atMs, place, afterSends: integer(random, 0, 4), restartMs, renamed: !keepsName }
  })
  return {
    ...plan,
    isPrompt: true,
    durationMs: (count + 2) * gapMs,
    shards: integer(random, 2, 8),
    failoverTime,
    wayMs: Math.min(failoverTime / 10, pick(random, [2, 6, 60])),
    initialPosition: 'TRIM_HORIZON',
    retentionMs: 24 * 3_600_000,
    producers: [{ ...plan.producers[0]!, gapMs: Math.max(500, plan.producers[0]!.gapMs) }],
    workers,
    faults,
  }
}

/** Handoffs, and children of shards, are what most of it is about. */
function withMoves(random: Random, plan: Plan): Plan {
  const faults = several(
    random,
    [0, 1, 2, 4],
    plan,
    (atMs): Fault => ({
      kind: 'reshard',
      atMs,
      act: pick(random, ['split', 'split', 'merge', 'resize']),
      where: random(),
    }),
  )
  return withFaults(plan, faults)
}

function placeOf(random: Random, { workers }: Plan): string {
  return chance(random, 0.6) ? ANY_WORKER : pick(random, workers).place
}

function eachWorker(plan: Plan, change: (worker: WorkerPlan, index: number) => WorkerPlan): Plan {
  return { ...plan, workers: plan.workers.map(change) }
}

export function withFaults(plan: Plan, more: readonly Fault[]): Plan {
  return { ...plan, faults: [...plan.faults, ...more].sort((a, b) => a.atMs - b.atMs) }
}

/** At times in the run, half of them close to what goes wrong anyway. */
export function several(
  random: Random,
  counts: readonly number[],
  { durationMs, failoverTime, faults }: Plan,
  make: (atMs: number) => Fault,
): Fault[] {
  return Array.from({ length: pick(random, counts) }, () => {
    const other = faults.length > 0 && chance(random, 0.5) ? pick(random, faults) : undefined
    const atMs =
      other === undefined
        ? random() * durationMs
        : Math.max(
            0,
            Math.min(durationMs, other.atMs + between(random, -0.5, 1) * pick(random, [100, 1_000, failoverTime])),
          )
    return make(Math.round(atMs))
  })
}
