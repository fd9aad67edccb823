import type { AttributeValue } from '@aws-sdk/client-dynamodb'
import type { DynamoDBService } from './dynamodb-service.ts'
import type { Fault } from './faults.ts'
import type { KinesisService } from './kinesis-service.ts'
import type { Plan } from './plan.ts'
import { FOREIGN, type SimulatedProcess } from './process.ts'
import type { Programs } from './programs.ts'
import type { FleetMember } from './simulated-worker.ts'
import { shardKeyOf } from './stored-stream.ts'
import { isLeaseKey } from './table-requests.ts'
import type { Trace } from './trace.ts'
import { type Invariant, Violation } from './violation.ts'
import type { VirtualTime } from './virtual-time.ts'
import { openShardsOf, placeOfLease, type WatchedStreams } from './watched-streams.ts'

type Item = Readonly<Record<string, AttributeValue>>

export interface RecoveryOptions {
  readonly plan: Plan
  readonly time: VirtualTime
  readonly trace: Trace
  readonly programs: Programs
  readonly kinesis: KinesisService
  readonly dynamodb: DynamoDBService
  readonly streams: WatchedStreams
  /** Who wrote an item of the table last. */
  readonly writerOf: (key: string) => SimulatedProcess | undefined
  readonly report: (violation: Violation) => void
}

/** Puts go on for so long after the last fault. */
const AFTERMATH_MS = 3_000
const LOOK_MS = 250
/**
 * How long after the last fault everything may take to be well: what backs off longest are handlers that fail (30 s) and
 * requests without an answer (30 s), one may follow the other, and a dead worker's leases move after some failover times.
 */
const STEADY_MS = 90_000
const STEADY_FAILOVERS = 6
/** What is no reason to handle anything twice: nobody dies, and no request fails but questions of producers, and subscriptions. */
export const GENTLE: ReadonlySet<Fault['kind']> = new Set([
  'reshard',
  'leave',
  'calls',
  'distribution',
  'recordSize',
  'subscription',
  'deregister',
])
/** How long closing may take: the handlers' time, and the last writes. */
const CLOSE_MS = 30_000

/** What has to come after the last fault: puts end, everything is handled, the fleet is even, and everybody closes. */
export class Recovery {
  readonly #options: RecoveryOptions
  #steadyAfterMs = 0

  constructor(options: RecoveryOptions) {
    this.#options = options
  }

  /** How long after the last fault everything was well. */
  get steadyAfterMs(): number {
    return this.#steadyAfterMs
  }

  /** Resolves when everybody has closed. */
  async run(): Promise<void> {
    const { plan, time, trace, programs, streams } = this.#options
    const unsettled = (): string[] => streams.all.flatMap(({ witness }) => witness.unsettled()).slice(0, 5)
    const calmMs = time.nowMs
    programs.calmDown()
    trace.add('world', 'the faults are over')
    const settleMs = 2 * Math.max(...plan.producers.map(({ recordTtl }) => recordTtl)) + CLOSE_MS + longestPause(plan)
    await this.#within(
      Promise.all(programs.leaving),
      settleMs,
      'close gives back',
      () => `${programs.leaving.size} programs did not close`,
    )
    programs.redeploy()
    await time.sleep(AFTERMATH_MS + longestRestart(plan))
    const producers = programs.producers
    const closed = Promise.all(producers.map((producer) => producer.end()))
    await this.#within(closed, settleMs, 'puts settle', () => `unsettled after close: ${unsettled().join(', ')}`)
    if (plan.streams === undefined) streams.side.witness.readAll()
    if (unsettled().length > 0) this.#object('puts settle', `unsettled after close: ${unsettled().join(', ')}`)
    await this.#becomeSteady(calmMs)
    await this.#closeWorkers()
    this.#checkRepeats()
  }

  async #becomeSteady(calmMs: number): Promise<void> {
    const deadlineMs = calmMs + STEADY_MS + STEADY_FAILOVERS * this.#options.plan.failoverTime
    for (;;) {
      const wrong = this.#whatIsWrong()
      if (wrong === undefined) break
      if (this.#options.time.nowMs > deadlineMs) {
        this.#object(
          'steady state',
          `${((this.#options.time.nowMs - calmMs) / 1_000).toFixed(0)} s after the last fault: ${wrong}`,
        )
        return
      }
      await this.#options.time.sleep(LOOK_MS)
    }
    this.#steadyAfterMs = this.#options.time.nowMs - calmMs
  }

  #whatIsWrong(): string | undefined {
    const { programs, streams, kinesis, time } = this.#options
    for (const { name, stored } of streams.read) {
      for (const shard of stored.shards) {
        const open = stored.firstOpen(shard, time.nowMs)
        if (open !== undefined) return `${open.text} in ${shard.shardId} of ${name} isn't finished`
      }
    }
    const workers = new Map(programs.workers.map((worker) => [worker.workerId, worker]))
    const counts = new Map([...workers.keys()].map((workerId) => [workerId, 0]))
    const leases = new Map(this.#leases().map((lease) => [shardOf(lease), lease]))
    const former = [...leases.keys()].find((shard) => !streams.read.some(({ name }) => shard.startsWith(`${name}:`)))
    if (former !== undefined) return `the lease of ${former}, which isn't the application's any more, is still there`
    for (const shard of openShardsOf(kinesis, streams)) {
      const lease = leases.get(shard)
      if (lease === undefined) return `${shard} has no lease`
      if (lease.checkpointOwner !== undefined) return `${shard} is being handed off`
      const owner = lease.leaseOwner?.S ?? 'nobody'
      const worker = workers.get(owner)
      if (worker === undefined) return `${shard} is owned by ${owner}`
      if (!worker.shards.includes(shard)) return `${owner} doesn't know that it owns ${shard}`
      counts.set(owner, counts.get(owner)! + 1)
    }
    const most = Math.max(...counts.values())
    const isUneven = [...counts].some(([owner, count]) => {
      const { maxLeases = Number.POSITIVE_INFINITY } = workers.get(owner)!.plan
      return count > maxLeases || count < Math.min(most - 1, maxLeases)
    })
    if (!isUneven) return undefined
    return `the shards are spread unevenly: ${[...counts].map(([owner, count]) => `${owner} ${count}`).join(', ')}`
  }

  async #closeWorkers(): Promise<void> {
    const workers = this.#options.programs.workers
    // A lock that was written by a request that came too late is nobody's.
    const leaders = workers.filter(({ isLeader }) => isLeader)
    await this.#within(
      Promise.all(workers.map((worker) => worker.close())),
      CLOSE_MS,
      'close gives back',
      () => `${workers.filter(({ isOver }) => !isOver).map(({ workerId }) => workerId)} did not close`,
    )
    const subscribed = workers.flatMap(({ process }) => this.#options.kinesis.fanOut.openShardsOf(process))
    if (subscribed.length > 0) {
      this.#object('one subscription a shard', `still open after everybody has closed: ${subscribed.join(', ')}`)
    }
    const left = this.#options.dynamodb
      .items()
      .filter(
        ({ leaseKey, ownerName }) =>
          workers.some((worker) => !worker.plan.isForeign && this.#hasEntry(worker, leaseKey?.S)) ||
          leaders.some(({ workerId }) => ownerName?.S === workerId),
      )
    if (left.length > 0) {
      this.#object(
        'close gives back',
        `still there after everybody has closed: ${left.map(({ leaseKey }) => leaseKey?.S).join(', ')}`,
      )
    }
    const owned = this.#leases().filter(
      ({ checkpoint, leaseOwner, checkpointOwner }) =>
        checkpoint?.S !== 'SHARD_END' &&
        (leaseOwner !== undefined || checkpointOwner !== undefined) &&
        // A KCL leaves its leases in its name. And who leaves a moment after it was passed a lease finds it by the index, or not.
        !leaseOwner?.S?.startsWith(FOREIGN) &&
        this.#options.plan.indexLagMs === undefined,
    )
    if (owned.length > 0) {
      this.#object(
        'close gives back',
        `still owned after everybody has closed: ${owned.map(({ leaseKey, leaseOwner }) => `${leaseKey?.S} by ${leaseOwner?.S}`).join(', ')}`,
      )
    }
  }

  /** An earlier run under the same name may have left one behind when it died. */
  #hasEntry({ workerId, process }: FleetMember, key: string | undefined): boolean {
    return workerId === key && this.#options.writerOf(key) === process
  }

  /** Handoffs, reshards, good ends, and whatever reading meets are no reason to handle anything twice. */
  #checkRepeats(): void {
    const { plan } = this.#options
    const isGentle =
      plan.faults.every(isNoReasonToRepeat) && !isDeregisteredByArn(plan) && isHandledWithoutFailure(plan)
    const repeated = this.#options.streams.sum(({ witness }) => witness.repeated)
    if (isGentle && repeated > 0) this.#object('nothing again without need', `${repeated} records were handled again`)
  }

  async #within(work: Promise<unknown>, ms: number, invariant: Invariant, what: () => string): Promise<void> {
    const timer = this.#options.time.after(ms, () => this.#object(invariant, `not within ${ms / 1_000} s: ${what()}`))
    await work
    this.#options.time.cancel(timer)
  }

  #leases(): Item[] {
    return this.#options.dynamodb.items().filter(({ leaseKey }) => isLeaseKey(leaseKey?.S ?? ''))
  }

  #object(invariant: Invariant, message: string): void {
    this.#options.report(new Violation(invariant, message))
  }
}

function shardOf({ leaseKey }: Item): string {
  const { stream, shardId } = placeOfLease(leaseKey!.S!)
  return shardKeyOf(stream, shardId)
}

function isNoReasonToRepeat(fault: Fault): boolean {
  return GENTLE.has(fault.kind) || (fault.kind === 'errors' && fault.service === 'kinesis')
}

/** What fails, and is being tried again when its worker closes, is given up there, and what lies above it comes again. */
export function isHandledWithoutFailure({ processing, faults }: Plan): boolean {
  const { failingShare = 0, misfitShare = 0, manualShare, handlerTimeoutMs } = processing ?? {}
  const isTroubled = faults.some(({ kind }) => kind === 'damaged')
  return failingShare + misfitShare === 0 && manualShare === undefined && handlerTimeoutMs === undefined && !isTroubled
}

/** Then its workers end with an error, since nobody but who registered it can register it anew. */
export function isDeregisteredByArn({ fanOut, faults }: Plan): boolean {
  return fanOut?.isByArn === true && faults.some(({ kind }) => kind === 'deregister')
}

/** Whoever is leaving may just have been paused. */
function longestPause({ faults }: Plan): number {
  return Math.max(0, ...faults.map((fault) => (fault.kind === 'pauseAtWrite' ? fault.forMs : 0)))
}

function longestRestart({ faults }: Plan): number {
  return Math.max(0, ...faults.map((fault) => ('restartMs' in fault ? fault.restartMs : 0)))
}
