import type { Random } from '@shardwise/core'
import type { Distribution, Fault, WatchedOperation } from './faults.ts'
import type { ServiceName } from './network.ts'
import { fleetVaried } from './plan-fleets.ts'
import { type ProcessingPlan, processingVaried } from './plan-processing.ts'
import { readingVaried } from './plan-reading.ts'
import { varied } from './plan-variations.ts'
import { between, chance, integer, pick, Randomness } from './randomness.ts'

export interface ProducerPlan {
  readonly place: string
  readonly aggregation: boolean | 'always'
  readonly aggregationMaxSize: number
  readonly recordMaxBufferedTime: number
  readonly recordTtl: number
  readonly maxRequestsInFlight: number
  /** From one burst of puts to the next, on average. */
  readonly gapMs: number
  readonly burst: number
  readonly paddingBytes: number
  // What follows is absent in old plans: then it is the producer's default, or there is none of it.
  readonly ordering?: 'key' | 'none'
  readonly failIfThrottled?: boolean
  readonly rateLimit?: number
  readonly requestTimeout?: number
  /** Its client waits for an answer for ever, as one of the user's own may. */
  readonly isClientPatient?: boolean
  /** Operations that it may not call, ever. */
  readonly denied?: readonly WatchedOperation[]
  /** Some of its records, few, have so many bytes. */
  readonly largeBytes?: number
  /** So many of its records have no key. */
  readonly keylessShare?: number
  /** How long it gives a flush, and its close. */
  readonly patienceMs?: number
  /** So many of its records go to another stream, which nobody reads. */
  readonly sideShare?: number
  /** It has an `onError`, and doesn't await some of its puts. */
  readonly hasOnError?: boolean
}

export interface WorkerPlan {
  readonly place: string
  /** When it is started first. */
  readonly startMs: number
  readonly concurrency: number
  readonly maxAheadRecords: number
  readonly maxRecords: number
  readonly idleTimeBetweenReads: number
  readonly handlerMs: number
  // Absent in old plans, and where the consumer's default will do.
  readonly maxLeases?: number
  readonly checkpointIntervalMs?: number
  readonly closeTimeout?: number
  /** It is a KCL. */
  readonly isForeign?: boolean
  /** At each of its starts in turn; absent in old plans: polling. */
  readonly retrieval?: readonly Retrieval[]
}

export type Retrieval = 'polling' | 'fanOut'

interface FanOutPlan {
  /** How long a consumer of the stream is being registered. */
  readonly registerMs: number
  /** How long a subscription lives. */
  readonly subscriptionMs: number
  /** Somebody else registers the consumer, and workers are told its ARN. */
  readonly isByArn?: boolean
}

/** How an application comes by its two streams. */
interface StreamsPlan {
  readonly by: 'list' | 'function' | 'where'
  /** The second is among them only from then on; not with a list. */
  readonly addedAtMs?: number
  /** From then on it isn't any more, for so long or for good; not with a list. */
  readonly removedAtMs?: number
  readonly backAtMs?: number
  readonly formerStreamWaitMs: number
}

/** What a KCL of some version has left behind. */
export interface FormerTable {
  /** When it wrote last. */
  readonly leftAtMs: number
  /** Since 3.0. */
  readonly hasIndex: boolean
  /** Since 3.5. */
  readonly hasTypes: boolean
  /** Since 2.3. */
  readonly hasRanges: boolean
  /** It ran by the rules of 3.x. */
  readonly isOf3x: boolean
  /** Its workers renew their leases until then; not by the rules of 3.x. */
  readonly livesUntilMs?: number
}

/** A whole run, as plain data: the same plan gives the same run. */
export interface Plan {
  readonly seed: number
  /** How long things go wrong. Afterwards all must become well. */
  readonly durationMs: number
  readonly shards: number
  readonly limits: boolean
  readonly reshardMs: number
  readonly retentionMs: number
  readonly failoverTime: number
  /** Where the application starts; absent in old plans: at the oldest record. */
  readonly initialPosition?: 'TRIM_HORIZON' | 'LATEST' | 'AT_TIMESTAMP'
  /** Where it is, for AT_TIMESTAMP. */
  readonly startAtMs?: number
  /** Whether the stream is on-demand; absent in old plans, as are the next two: provisioned, by key, 1 MiB. */
  readonly onDemand?: boolean
  readonly distribution?: Distribution
  readonly maxRecordKiB?: number
  /** What a request takes on its way there, or its answer back, at most. */
  readonly wayMs: number
  readonly keysPerProducer: number
  readonly producers: readonly ProducerPlan[]
  readonly workers: readonly WorkerPlan[]
  readonly faults: readonly Fault[]
  // What follows is absent in old plans: then there is none of it.
  /** How far the table's index is always behind, at most. */
  readonly indexLagMs?: number
  /** The application reads both streams, rather than the one. */
  readonly streams?: StreamsPlan
  /** The table is there already, as a KCL has left it. */
  readonly formerTable?: FormerTable
  readonly fanOut?: FanOutPlan
  /** New leases get attributes that nobody knows. */
  readonly hasStrangeAttributes?: boolean
  /** So little goes wrong, and so seldom, that each fault has to be made up for in good time. */
  readonly isPrompt?: boolean
  /** Absent: each record alone, with the consumer's defaults. */
  readonly processing?: ProcessingPlan
}

const DAY_MS = 24 * 3_600_000

export function planOf(seed: number): Plan {
  const randomness = new Randomness(seed)
  const plan = varied(randomness.stream('variations'), plainPlan(seed, randomness.stream('plan')))
  const read = readingVaried(randomness.stream('reading'), fleetVaried(randomness.stream('fleet'), plan))
  return processingVaried(randomness.stream('processing'), read)
}

/** Producers with little but the defaults, on a provisioned stream that they know all about. */
function plainPlan(seed: number, random: Random): Plan {
  const durationMs = integer(random, 10, 90) * 1_000
  const failoverTime = pick(random, [1_000, 3_000, 10_000])
  const producers = Array.from({ length: integer(random, 1, 2) }, (_, index) => producerPlan(random, index))
  const keysPerProducer = integer(random, 1, 12)
  const load = {
    durationMs,
    keys: keysPerProducer * producers.length,
    putsPerSecond: producers.reduce((sum, { gapMs, burst }) => sum + (1_000 * (1 + burst)) / 2 / gapMs, 0),
  }
  const workers = Array.from({ length: integer(random, 1, 4) }, (_, index) => workerPlan(random, index, load))
  const common = { durationMs, failoverTime, places: [...producers, ...workers].map(({ place }) => place) }
  return {
    seed,
    durationMs,
    shards: integer(random, 1, 4),
    limits: chance(random, 0.7),
    reshardMs: pick(random, [0, 500, 5_000]),
    // Long enough for what nobody hinders; a worker that is held up for longer loses records.
    retentionMs: chance(random, 0.2) ? integer(random, 5, 60) * 1_000 : DAY_MS,
    failoverTime,
    // Beyond a tenth no lease could be held for long.
    wayMs: Math.min(failoverTime / 10, pick(random, [2, 6, 6, 60, 250])),
    keysPerProducer,
    initialPosition: chance(random, 0.2) ? 'LATEST' : 'TRIM_HORIZON',
    producers,
    workers,
    faults: faultsOf(random, common),
  }
}

function producerPlan(random: Random, index: number): ProducerPlan {
  const large = chance(random, 0.1)
  return {
    place: `producer-${index}`,
    aggregation: chance(random, 0.6),
    aggregationMaxSize: pick(random, [100, 1_000, 51_200]),
    recordMaxBufferedTime: pick(random, [0, 20, 100, 500]),
    recordTtl: pick(random, [2_000, 30_000, 30_000]),
    maxRequestsInFlight: pick(random, [1, 2, 16]),
    gapMs: large ? 400 : pick(random, [50, 200, 600]),
    burst: large ? 2 : integer(random, 1, 6),
    paddingBytes: large ? 60_000 : 0,
  }
}

interface Load {
  readonly durationMs: number
  readonly keys: number
  readonly putsPerSecond: number
}

/** So much faster than records come, one worker could handle them all: it has to catch up after a fault. */
const SPARE = 4

function workerPlan(random: Random, index: number, { durationMs, keys, putsPerSecond }: Load): WorkerPlan {
  const concurrency = pick(random, [1, 4, 64])
  const idleTimeBetweenReads = pick(random, [200, 500, 1_000])
  const mostMs = (1_000 * Math.min(concurrency, keys)) / (SPARE * putsPerSecond)
  const fewest = Math.ceil((SPARE * putsPerSecond * idleTimeBetweenReads) / 1_000)
  return {
    place: `worker-${index}`,
    startMs: Math.round(index === 0 || chance(random, 0.6) ? random() * 500 : random() * durationMs),
    concurrency,
    maxAheadRecords: pick(random, [concurrency, 50, 10_000]),
    maxRecords: pick(random, [fewest, 10_000]),
    idleTimeBetweenReads,
    handlerMs: +(pick(random, [0, 0.1, 1]) * Math.min(500, mostMs)).toFixed(3),
  }
}

interface Common {
  readonly durationMs: number
  readonly failoverTime: number
  readonly places: readonly string[]
}

const KINDS = ['kill', 'leave', 'pause', 'partition', 'weather', 'errors', 'stale', 'reshard', 'handlers'] as const

/**
 * A few kinds of faults, many times, rather than all kinds a little: so rare meetings of two come about (Groce et al., "Swarm
 * Testing"). And half of them come close to another.
 */
function faultsOf(random: Random, common: Common): Fault[] {
  const { durationMs, failoverTime } = common
  const kinds = Array.from({ length: integer(random, 1, 5) }, () => pick(random, KINDS))
  const faults: Fault[] = []
  for (let left = integer(random, 0, 16); left > 0; left--) {
    const other = chance(random, 0.5) ? faults[integer(random, 0, faults.length)] : undefined
    const atMs =
      other === undefined
        ? random() * durationMs
        : Math.min(durationMs, other.atMs + random() * pick(random, [100, 1_000, failoverTime]))
    faults.push(fault(random, pick(random, kinds), Math.round(atMs), common))
  }
  return faults.sort((a, b) => a.atMs - b.atMs)
}

function fault(random: Random, kind: (typeof KINDS)[number], atMs: number, { failoverTime, places }: Common): Fault {
  const forMs = Math.round(between(random, 100, Math.max(3 * failoverTime, 5_000)))
  const place = pick(random, places)
  const service: ServiceName = place.startsWith('producer') || chance(random, 0.4) ? 'kinesis' : 'dynamodb'
  const probability = pick(random, [0.05, 0.3, 0.9])
  const restartMs = Math.round(random() * 2 * failoverTime)
  const afterSends = chance(random, 0.5) ? 0 : integer(random, 1, 10)
  const share = (): number => (chance(random, 0.5) ? probability / 2 : 0)
  switch (kind) {
    case 'kill':
      return { kind: 'kill', atMs, place, afterSends, restartMs, renamed: chance(random, 0.5) }
    case 'leave':
      return { kind: 'leave', atMs, place, restartMs }
    case 'pause':
      return { kind: 'pause', atMs, place, afterSends, forMs }
    case 'partition':
      return { kind: 'partition', atMs, forMs, place, service, cut: chance(random, 0.5) ? 'requests' : 'answers' }
    case 'weather':
      return {
        kind: 'weather',
        atMs,
        forMs,
        service,
        lost: share(),
        answerLost: share(),
        late: share(),
        slowMs: pick(random, [0, 200, 1_000]),
      }
    case 'errors':
      return {
        kind: 'errors',
        atMs,
        forMs,
        service,
        error:
          service === 'kinesis'
            ? pick(random, ['throttle', 'internalError', 'partialFailure', 'expiredIterator'])
            : pick(random, ['throttle', 'internalError']),
        probability,
      }
    case 'stale':
      return { kind: 'stale', atMs, forMs, lagMs: pick(random, [100, 1_000, 5_000]) }
    case 'reshard':
      return { kind: 'reshard', atMs, act: pick(random, ['split', 'split', 'merge', 'resize']), where: random() }
    case 'handlers':
      return { kind: 'handlers', atMs, forMs, act: pick(random, ['slow', 'throw', 'hang']), probability }
  }
}
