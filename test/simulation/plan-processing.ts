import type { Random } from '@shardwise/core'
import { ANY_WORKER, type CallbackTrouble, type Fault, type HandlerTrouble } from './faults.ts'
import type { Plan, WorkerPlan } from './plan.ts'
import { several, withFaults } from './plan-fleets.ts'
import { between, chance, integer, pick } from './randomness.ts'

/** How the workers of the application handle records: all of them alike. What is absent is the consumer's default, or there is none of it. */
export interface ProcessingPlan {
  readonly shape: 'eachRecord' | 'eachBatch' | 'records'
  readonly ordering?: 'key' | 'shard' | 'none'
  readonly policy?: 'stop' | 'deadLetter' | 'skip'
  /** With `stop`: the worker ends when a shard has stopped. */
  readonly exits?: boolean
  readonly maxAttempts?: number
  readonly maxAgeMs?: number
  readonly handlerTimeoutMs?: number
  readonly stoppedRetryMs: number
  readonly maxAheadBytes?: number
  readonly batch?: { readonly maxRecords?: number; readonly maxBytes?: number; readonly maxWaitMs?: number }
  /** Handlers say where checkpoints are to be, after so many of their records. */
  readonly manualShare?: number
  readonly hasHooks?: boolean
  /** Records have values; decoding takes this many milliseconds at most, or is done at once. */
  readonly decodingMs?: number
  /** So many of the records can't be decoded, until they are mended. */
  readonly misfitShare?: number
  /** With so many of the records handlers fail, until they are mended. */
  readonly failingShare?: number
  /** From then on handlers and codecs take whatever comes, and who stops at what can't be read is told to put it aside. */
  readonly mendedAtMs: number
}

type Vary = (random: Random, plan: Varied) => Varied
type Varied = Plan & { readonly processing: ProcessingPlan }

/** In somewhat less than half of the seeds records are handled in other ways than the plainest, and fail in other ways. */
export function processingVaried(random: Random, plan: Plan): Plan {
  if (plan.isPrompt || chance(random, 0.55)) return plan
  const shape = pick(random, ['eachRecord', 'eachRecord', 'eachRecord', 'eachBatch', 'eachBatch', 'records'] as const)
  const mendedAtMs = Math.round(between(random, 0.3, 1) * plan.durationMs)
  const varied = VARIATIONS.reduce<Varied>(
    (sofar, { vary, share }) => (chance(random, share) ? vary(random, sofar) : sofar),
    { ...plan, processing: { shape, mendedAtMs, stoppedRetryMs: pick(random, [200, 1_000, 4_000]) } },
  )
  return bearable(varied)
}

/** New ones at the end: then what the others draw stays the same. */
const VARIATIONS: readonly { readonly vary: Vary; readonly share: number }[] = [
  { vary: withBatches, share: 1 },
  { vary: withOrdering, share: 0.5 },
  { vary: withPolicy, share: 0.7 },
  { vary: withFailures, share: 0.6 },
  { vary: withTroubles, share: 0.5 },
  { vary: withTimeout, share: 0.3 },
  { vary: withCodec, share: 0.3 },
  { vary: withDamage, share: 0.3 },
  { vary: withBounds, share: 0.4 },
  { vary: withHolds, share: 0.3 },
  { vary: withHooks, share: 0.4 },
  { vary: withManualCheckpoints, share: 0.15 },
  { vary: withLetterTroubles, share: 0.5 },
  { vary: withReset, share: 0.1 },
  { vary: withHaste, share: 0.25 },
]

function withBatches(random: Random, plan: Varied): Varied {
  if (plan.processing.shape !== 'eachBatch') return plan
  const batch = {
    ...(chance(random, 0.8) && { maxRecords: pick(random, [1, 2, 3, 10, 100]) }),
    ...(chance(random, 0.3) && { maxBytes: pick(random, [1, 200, 5_000]) }),
    ...(chance(random, 0.7) && { maxWaitMs: pick(random, [0, 10, 500, 3_000]) }),
  }
  return processed(plan, { batch })
}

function withOrdering(random: Random, plan: Varied): Varied {
  return plan.processing.shape === 'records'
    ? plan
    : processed(plan, { ordering: pick(random, ['shard', 'shard', 'none', 'key']) })
}

function withPolicy(random: Random, plan: Varied): Varied {
  const policy = pick(random, ['stop', 'deadLetter', 'deadLetter', 'skip'] as const)
  return processed(plan, {
    policy,
    maxAttempts: pick(random, [1, 1, 2, 3, 5]),
    ...(chance(random, 0.3) && { maxAgeMs: pick(random, [1, 500, 3_000]) }),
    ...(policy === 'stop' && chance(random, 0.2) && { exits: true }),
  })
}

/** Handlers fail with some of the records, whenever they get them. */
function withFailures(random: Random, plan: Varied): Varied {
  return processed(plan, { failingShare: pick(random, [0.002, 0.02, 0.1]) })
}

const HANDLER_TROUBLES: readonly HandlerTrouble[] = ['slow', 'throw', 'reject', 'hang', 'deaf', 'swallow', 'block']
const CALLBACK_TROUBLES: readonly CallbackTrouble[] = ['slow', 'throw', 'throw', 'reject', 'hang', 'deaf']

/** Handlers, and what keeps dead letters, are in trouble for a while, with a program that dies in the midst of it. */
function withTroubles(random: Random, plan: Varied): Varied {
  const troubles = several(random, [1, 2, 4], plan, (atMs): Fault => {
    const forMs = Math.round(between(random, 100, 15_000))
    if (chance(random, 0.4) && plan.processing.policy === 'deadLetter') {
      return {
        kind: 'letters',
        atMs,
        forMs,
        act: pick(random, CALLBACK_TROUBLES),
        probability: pick(random, [0.3, 0.9]),
      }
    }
    const act = pick(random, HANDLER_TROUBLES)
    // Of those that block the program one is enough.
    const probability = act === 'block' ? 0.02 : pick(random, [0.02, 0.3, 0.9])
    return { kind: 'handlers', atMs, forMs, act, probability }
  })
  const troubled = { ...withFaults(plan, troubles), processing: plan.processing }
  const deaths = several(
    random,
    [0, 0, 1, 2],
    troubled,
    (atMs): Fault => ({
      kind: 'kill',
      atMs,
      place: pick(random, plan.workers).place,
      afterSends: integer(random, 0, 6),
      restartMs: Math.round(random() * 2 * plan.failoverTime),
      renamed: chance(random, 0.5),
    }),
  )
  return { ...withFaults(troubled, deaths), processing: plan.processing }
}

/** Where there is a loop it is of no account. */
function withTimeout(random: Random, plan: Varied): Varied {
  return processed(plan, { handlerTimeoutMs: pick(random, [50, 300, 1_000, 5_000]) })
}

function withCodec(random: Random, plan: Varied): Varied {
  return processed(plan, {
    decodingMs: pick(random, [0, 0, 5]),
    misfitShare: plan.processing.policy === undefined ? 0 : pick(random, [0, 0.01, 0.05]),
  })
}

/** Foreign workers are not watched at what they handle, and the table of a former application says nothing of it. */
function withDamage(random: Random, plan: Varied): Varied {
  if (plan.formerTable !== undefined || plan.workers.some(({ isForeign }) => isForeign)) return plan
  const faults = several(
    random,
    [1, 2, 3],
    plan,
    (atMs): Fault => ({ kind: 'damaged', atMs, count: integer(random, 1, 3) }),
  )
  return { ...withFaults(plan, faults), processing: plan.processing }
}

function withBounds(random: Random, plan: Varied): Varied {
  const workers = plan.workers.map((worker) => ({ ...worker, maxAheadRecords: pick(random, [1, 2, 5, 20]) }))
  const bounded = chance(random, 0.5) ? { ...plan, workers } : plan
  return processed(bounded, chance(random, 0.6) ? { maxAheadBytes: pick(random, [1, 100, 1_000, 100_000]) } : {})
}

function withHolds(random: Random, plan: Varied): Varied {
  const faults = several(
    random,
    [1, 2, 3],
    plan,
    (atMs): Fault => ({
      kind: 'hold',
      atMs,
      forMs: Math.round(between(random, 100, Math.max(15_000, 3 * plan.failoverTime))),
      place: pick(random, plan.workers).place,
      share: pick(random, [0.5, 1]),
      isInHandler: chance(random, 0.5),
    }),
  )
  return { ...withFaults(plan, faults), processing: plan.processing }
}

function withHooks(random: Random, plan: Varied): Varied {
  if (plan.processing.shape === 'records') return plan
  const faults = several(
    random,
    [0, 1, 2],
    plan,
    (atMs): Fault => ({
      kind: 'hooks',
      atMs,
      forMs: Math.round(between(random, 100, 15_000)),
      act: pick(random, CALLBACK_TROUBLES),
      probability: pick(random, [0.3, 0.9]),
    }),
  )
  // In every other seed those at the ends of shards fail for sure.
  const ends = plan.seed % 2 === 0 ? plan.faults.filter(({ kind }) => kind === 'reshard') : []
  const atEnds = ends.map(({ atMs }): Fault => ({ kind: 'hooks', atMs, forMs: 10_000, act: 'throw', probability: 0.9 }))
  return { ...withFaults(plan, [...faults, ...atEnds]), processing: { ...plan.processing, hasHooks: true } }
}

function withManualCheckpoints(random: Random, plan: Varied): Varied {
  if (plan.processing.shape === 'records') return plan
  // Without a hook at its end a shard would wait there for a checkpoint.
  const manual = processed(plan, { manualShare: pick(random, [0.02, 0.3, 1]), hasHooks: true })
  const faults = several(
    random,
    [0, 1, 2],
    plan,
    (atMs): Fault => ({
      kind: 'killAtWrite',
      atMs,
      place: ANY_WORKER,
      write: 'prepare',
      nth: pick(random, [1, 2, 5]),
      when: pick(random, ['before', 'after']),
      restartMs: Math.round(random() * 2 * plan.failoverTime),
      renamed: chance(random, 0.5),
    }),
  )
  return { ...withFaults(manual, faults), processing: manual.processing }
}

/** Dead letters are hard to keep. */
function withLetterTroubles(random: Random, plan: Varied): Varied {
  const { failingShare = 0, misfitShare = 0, policy } = plan.processing
  if (policy !== 'deadLetter' || failingShare + misfitShare === 0) return plan
  const faults = several(
    random,
    [1, 2],
    plan,
    (atMs): Fault => ({
      kind: 'letters',
      atMs,
      forMs: Math.round(between(random, 1_000, 30_000)),
      act: pick(random, CALLBACK_TROUBLES),
      probability: pick(random, [0.3, 0.9]),
    }),
  )
  return { ...withFaults(plan, faults), processing: plan.processing }
}

/** Foreign workers would go on meanwhile. */
function withReset(random: Random, plan: Varied): Varied {
  if (plan.formerTable !== undefined || plan.workers.some(({ isForeign }) => isForeign)) return plan
  const faults = several(
    random,
    [1, 1, 2],
    plan,
    (atMs): Fault => ({
      kind: 'reset',
      atMs,
      to: pick(random, ['TRIM_HORIZON', 'record']),
      where: random(),
      afterSends: pick(random, [0, 0, 5, 10, 20]),
    }),
  )
  return { ...withFaults(plan, faults), processing: plan.processing }
}

/** Workers leave while their handlers are far from done, with little patience. */
function withHaste(random: Random, plan: Varied): Varied {
  const workers = plan.workers.map((worker) => ({ ...worker, closeTimeout: pick(random, [0, 50, 1_000]) }))
  const ends = several(random, [1, 2, 3], plan, (atMs): Fault => {
    const restartMs = Math.round(random() * plan.failoverTime)
    return { kind: 'leave', atMs, place: pick(random, workers).place, restartMs, keepsName: chance(random, 0.5) }
  })
  const troubles = ends.map(
    ({ atMs }): Fault => ({
      kind: 'handlers',
      atMs: Math.max(0, atMs - 3_000),
      forMs: 4_000,
      act: pick(random, ['swallow', 'swallow', 'deaf', 'hang']),
      probability: pick(random, [0.1, 0.5]),
    }),
  )
  return { ...withFaults({ ...plan, workers }, [...ends, ...troubles]), processing: plan.processing }
}

/** So much faster than records come, they can be handled one after the other, where nothing goes side by side. */
const SPARE = 4
const ANNOUNCED_MS = 5_000

/** Where little goes side by side, handlers are quick enough to catch up with what comes in. */
function bearable(plan: Varied): Plan {
  const { shape, ordering, manualShare } = plan.processing
  let { handlerTimeoutMs = Number.POSITIVE_INFINITY } = plan.processing
  // A handler that announces a checkpoint waits for writes to the table.
  if (manualShare !== undefined && handlerTimeoutMs < ANNOUNCED_MS) handlerTimeoutMs = ANNOUNCED_MS
  const putsPerSecond = plan.producers.reduce((sum, { gapMs, burst }) => sum + (1_000 * (1 + burst)) / 2 / gapMs, 0)
  const workers = plan.workers.map((worker): WorkerPlan => {
    const isSerial = shape !== 'eachRecord' || ordering === 'shard' || worker.maxAheadRecords < worker.concurrency
    const mostMs = isSerial ? 1_000 / (SPARE * putsPerSecond) : Number.POSITIVE_INFINITY
    return { ...worker, handlerMs: +Math.min(worker.handlerMs, mostMs, handlerTimeoutMs / SPARE).toFixed(3) }
  })
  const isTimed = plan.processing.handlerTimeoutMs !== undefined
  return { ...plan, workers, processing: { ...plan.processing, ...(isTimed && { handlerTimeoutMs }) } }
}

function processed(plan: Varied, more: Partial<ProcessingPlan>): Varied {
  return { ...plan, processing: { ...plan.processing, ...more } }
}
