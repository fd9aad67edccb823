import type { Random } from '@shardwise/core'
import type { Fault, WatchedOperation } from './faults.ts'
import type { Plan, ProducerPlan } from './plan.ts'
import { between, chance, integer, pick } from './randomness.ts'

/** A producer looks at its stream anew after six minutes at most. */
const LASTING_MS = 430_000
const OPERATIONS: readonly WatchedOperation[] = ['ListShards', 'DescribeStreamSummary']

type Vary = (random: Random, plan: Plan) => Plan

/** Makes a plan differ from the plainest in a few ways at once, or in none. */
export function varied(random: Random, plan: Plan): Plan {
  if (chance(random, 0.4)) return plan
  return VARIATIONS.reduce((sofar, vary) => (chance(random, 0.4) ? vary(random, sofar) : sofar), plan)
}

/** New ones at the end: then what the others draw stays the same. */
const VARIATIONS: readonly Vary[] = [
  crowded,
  withOptions,
  withOtherEnds,
  withoutTimeouts,
  distributing,
  troubledCalls,
  withLargeRecords,
  lasting,
  withTwoStreams,
  withLateRequests,
  withLateMap,
  withSilence,
]

/** More producers on the same shards, with as much to put as the fewer. */
function crowded(random: Random, plan: Plan): Plan {
  const model = pick(random, plan.producers)
  const more = integer(random, 1, 3)
  const times = (plan.producers.length + more) / plan.producers.length
  const added = Array.from({ length: more }, (_, index) => ({
    ...model,
    place: `producer-${plan.producers.length + index}`,
    aggregation: chance(random, 0.6),
  }))
  return {
    ...plan,
    producers: [...plan.producers, ...added].map((each) => ({ ...each, gapMs: Math.round(each.gapMs * times) })),
  }
}

function withOptions(random: Random, plan: Plan): Plan {
  return eachProducer(plan, (producer) => ({
    ...producer,
    ...(chance(random, 0.3) && { ordering: 'none' }),
    ...(chance(random, 0.3) && { failIfThrottled: true }),
    ...(chance(random, 0.5) && { rateLimit: pick(random, [50, 100, 1_000_000]) }),
    ...(chance(random, 0.5) && { requestTimeout: pick(random, [300, 1_000, 5_000]) }),
  }))
}

function withOtherEnds(random: Random, plan: Plan): Plan {
  return eachProducer(plan, (producer) => ({
    ...producer,
    ...(chance(random, 0.7) && { patienceMs: pick(random, [0, 5, 50, 1_000, 5_000]) }),
    ...(chance(random, 0.7) && { hasOnError: true }),
  }))
}

function withoutTimeouts(_: Random, plan: Plan): Plan {
  return eachProducer(plan, (producer) => ({ ...producer, isClientPatient: true }))
}

/** On-demand, and now and then distributing by itself. */
function distributing(random: Random, plan: Plan): Plan {
  const isAuto = chance(random, 0.5)
  const keylessShare = pick(random, [0, 0, 0.3])
  const faults = several(random, [0, 1, 2, 4], plan, (atMs, index) => ({
    kind: 'distribution',
    atMs,
    to: (index % 2 === 0) === isAuto ? 'USER_PARTITION_KEY' : 'AUTO',
  }))
  return eachProducer(
    withFaults({ ...plan, onDemand: true, distribution: isAuto ? 'AUTO' : 'USER_PARTITION_KEY' }, faults),
    (producer) => ({
      ...producer,
      aggregation: chance(random, 0.3) ? 'always' : producer.aggregation,
      ...(keylessShare > 0 && { keylessShare }),
    }),
  )
}

/** What producers ask about the stream comes to nothing, for good or for a while. */
function troubledCalls(random: Random, plan: Plan): Plan {
  const places = plan.producers.map(({ place }) => place)
  const faults = several(random, [0, 1, 2, 4], plan, (atMs) => ({
    kind: 'calls',
    atMs: chance(random, 0.6) ? 0 : atMs,
    forMs: Math.round(between(random, 100, 15_000)),
    place: pick(random, places),
    operation: pick(random, OPERATIONS),
    act: pick(random, ['denied', 'throttled', 'failing', 'hanging', 'hanging']),
  }))
  // Often with nothing else going wrong, to see what they alone do.
  const others = chance(random, 0.5) ? { ...plan, faults: [] } : plan
  return eachProducer(withFaults(others, faults), (producer) => {
    const denied = OPERATIONS.filter(() => chance(random, 0.3))
    return denied.length === 0 ? producer : { ...producer, denied }
  })
}

/** The stream takes more than 1 MiB, for as long as it does. */
function withLargeRecords(random: Random, plan: Plan): Plan {
  const maxRecordKiB = pick(random, [1_024, 2_048, 10_240])
  const faults = several(random, [0, 1, 2], plan, (atMs) => ({
    kind: 'recordSize',
    atMs,
    maxRecordKiB: pick(random, [1_024, 2_048]),
  }))
  const largeBytes = pick(random, [1_100_000, 2_000_000])
  const slow = eachProducer(plan, (producer) => ({ ...producer, largeBytes, gapMs: Math.max(300, producer.gapMs) }))
  return withFaults({ ...slow, maxRecordKiB }, faults)
}

/** Once in a while so long that producers look at their stream anew, with little to put. */
function lasting(random: Random, plan: Plan): Plan {
  if (!chance(random, 0.04)) return plan
  const slow = eachProducer(plan, (producer) => ({ ...producer, gapMs: Math.max(2_000, 4 * producer.gapMs) }))
  return { ...slow, durationMs: plan.durationMs + LASTING_MS }
}

function withTwoStreams(random: Random, plan: Plan): Plan {
  if (chance(random, 0.5)) return plan
  return eachProducer(plan, (producer) => ({ ...producer, sideShare: pick(random, [0.1, 0.5, 0.9]) }))
}

/** Requests arrive that were given up long ago, with aggregates of some tens of kilobytes, whose buffers are used again. */
function withLateRequests(random: Random, plan: Plan): Plan {
  if (chance(random, 0.75)) return plan
  const atMs = Math.round(random() * plan.durationMs)
  const faults: readonly Fault[] = [
    { kind: 'weather', atMs, forMs: 30_000, service: 'kinesis', lost: 0, answerLost: 0, late: 0.3, slowMs: 0 },
  ]
  return eachProducer(withFaults(plan, faults), (producer) => ({
    ...producer,
    requestTimeout: pick(random, [300, 1_000]),
    ...(producer.aggregation &&
      producer.paddingBytes === 0 && {
        paddingBytes: 12_000,
        aggregationMaxSize: 100_000,
        recordMaxBufferedTime: 500,
        gapMs: Math.max(200, producer.gapMs),
      }),
  }))
}

/** The shards can't be listed at first, and then in the midst of answers that are slow or don't come. */
function withLateMap(random: Random, plan: Plan): Plan {
  if (chance(random, 0.75)) return plan
  const forMs = integer(random, 1_500, 6_000)
  const unlisted = plan.producers.map(
    ({ place }): Fault => ({ kind: 'calls', atMs: 0, forMs, place, operation: 'ListShards', act: 'failing' }),
  )
  const slow: Fault = {
    kind: 'weather',
    atMs: 0,
    forMs: 2 * forMs,
    service: 'kinesis',
    lost: 0.2,
    answerLost: 0.1,
    late: 0,
    slowMs: 500,
  }
  return withFaults(plan, [...unlisted, slow])
}

/** Nothing goes wrong but that nobody is told what the stream is like. */
function withSilence(random: Random, plan: Plan): Plan {
  if (chance(random, 0.9)) return plan
  const faults = plan.producers.map(
    ({ place }): Fault => ({
      kind: 'calls',
      atMs: 0,
      forMs: 15_000,
      place,
      operation: 'DescribeStreamSummary',
      act: 'hanging',
    }),
  )
  return { ...plan, wayMs: Math.min(6, plan.wayMs), faults }
}

function eachProducer(plan: Plan, change: (producer: ProducerPlan) => ProducerPlan): Plan {
  return { ...plan, producers: plan.producers.map(change) }
}

function withFaults(plan: Plan, more: readonly Fault[]): Plan {
  return { ...plan, faults: [...plan.faults, ...more].sort((a, b) => a.atMs - b.atMs) }
}

/** At times in the run, in their order. */
function several(
  random: Random,
  counts: readonly number[],
  { durationMs }: Plan,
  make: (atMs: number, index: number) => Fault,
): Fault[] {
  const times = Array.from({ length: pick(random, counts) }, () => Math.round(random() * durationMs))
  return times.sort((a, b) => a - b).map(make)
}
