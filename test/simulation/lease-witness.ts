import type { AttributeValue } from '@aws-sdk/client-dynamodb'
import { AT_TIMESTAMP, comparePositions, isSentinel, LATEST, type Position, SHARD_END } from '@shardwise/records'
import { isForeign, isResetter, type SimulatedProcess } from './process.ts'
import type { StoredShard, StoredStream, StoredUserRecord } from './stored-stream.ts'
import { type Invariant, Violation } from './violation.ts'

type Item = Readonly<Record<string, AttributeValue>>

export interface LeaseWrite {
  readonly key: string
  readonly before: Item | undefined
  readonly after: Item | undefined
  /** Undefined: somebody by hand. */
  readonly writer: SimulatedProcess | undefined
}

export interface LeaseWitnessOptions {
  readonly stored: StoredStream
  readonly nowMs: () => number
  /** Where an application starts that starts at a time. */
  readonly startAtMs: number
  /** Whether a shard has a lease now, or has expired with all that was in it. */
  readonly needsNoLease: (shardId: string) => boolean
  /** Since when the process knows how long the stream keeps its records; Infinity if it doesn't. */
  readonly knownSinceMs: (process: SimulatedProcess) => number
  /** Whether a worker's checkpoint may be there, as far as its handlers have a say in that. */
  readonly mayCheckpoint: (process: SimulatedProcess, shardId: string, position: Position) => boolean
  /** A worker that isn't watched has finished a record, as its checkpoint says. */
  readonly onHandledElsewhere: (record: StoredUserRecord) => void
  readonly report: (violation: Violation) => void
}

/** What a worker knows it goes by with its next read. */
const TELL_MS = 2_000

/** Looks at every write to the lease table. */
export class LeaseWitness {
  readonly #stored: StoredStream
  readonly #needsNoLease: (shardId: string) => boolean
  readonly #knownSinceMs: (process: SimulatedProcess) => number
  readonly #mayCheckpoint: LeaseWitnessOptions['mayCheckpoint']
  readonly #onHandledElsewhere: (record: StoredUserRecord) => void
  readonly #nowMs: () => number
  readonly #startAtMs: number
  readonly #report: (violation: Violation) => void
  /** Which start of which worker took each lease up last. */
  readonly #holders = new Map<string, SimulatedProcess>()
  /** Shards that have, or had, a lease. */
  readonly #leased = new Set<string>()
  readonly #checkpoints = new Map<string, Position>()
  /** Shards of which a worker has said that records may have expired. */
  readonly #told = new Set<string>()
  #expired = 0
  #hasStarted = false

  constructor({
    stored,
    nowMs,
    startAtMs,
    needsNoLease,
    knownSinceMs,
    mayCheckpoint,
    onHandledElsewhere,
    report,
  }: LeaseWitnessOptions) {
    this.#stored = stored
    this.#nowMs = nowMs
    this.#startAtMs = startAtMs
    this.#needsNoLease = needsNoLease
    this.#knownSinceMs = knownSinceMs
    this.#mayCheckpoint = mayCheckpoint
    this.#onHandledElsewhere = onHandledElsewhere
    this.#report = report
  }

  /** User records that nobody could handle before they expired. */
  get expired(): number {
    return this.#expired
  }

  /** A worker says that records of the shard may have expired unread. */
  expiryTold(shardId: string): void {
    this.#told.add(shardId)
  }

  written({ key, before, after, writer }: LeaseWrite): void {
    const shard = this.#stored.shard(key)
    if (shard === undefined) return
    if (writer !== undefined && isResetter(writer)) {
      this.#reset(shard, before, after)
      return
    }
    if (after === undefined) {
      // Whoever deletes the lease of a shard that isn't finished begins anew, by hand even with what came before it.
      if (before?.checkpoint?.S !== SHARD_END.sequenceNumber) {
        this.#checkpoints.delete(key)
        if (writer === undefined) this.#forgetAncestors(shard)
      }
      return
    }
    this.#leased.add(key)
    if (!this.#hasStarted) this.#start(after)
    if (writer === undefined) {
      this.#checkpoints.set(key, checkpointOf(after))
      return
    }
    if (isForeign(writer) || after.shardwiseToken?.S !== before?.shardwiseToken?.S) this.#holders.set(key, writer)
    const checkpoint = checkpointOf(after)
    const last = this.#checkpoints.get(key)
    if (last !== undefined && comparePositions(checkpoint, last) === 0) return
    this.#checkpoints.set(key, checkpoint)
    if (last !== undefined && comparePositions(checkpoint, last) < 0) {
      this.#object(
        'checkpoint never moves back',
        `${writer.name} sets ${key} from ${show(last)} back to ${show(checkpoint)}`,
      )
    }
    // What was forgotten of a lease that an operator deleted, or of those above it, may have stayed as it was.
    if (before === undefined || comparePositions(checkpoint, checkpointOf(before)) === 0) return
    const holder = this.#holders.get(key)
    const owner = (before.checkpointOwner ?? before.leaseOwner)?.S
    if (holder !== writer || owner === undefined || !writer.name.startsWith(`${owner}#`)) {
      this.#object(
        'only the holder checkpoints',
        `${writer.name} checkpoints ${key}, which ${owner ?? 'nobody'} owns and ${holder?.name ?? 'nobody'} took up last`,
      )
    }
    this.#checkCovered(shard, last, checkpoint, writer)
  }

  /** The shard is to be read from its first record on, whether it has a lease or not. */
  forget({ shardId }: StoredShard): void {
    // What finished shards had is long gone, lease and all.
    if (this.#checkpoints.get(shardId)?.sequenceNumber === SHARD_END.sequenceNumber) this.#checkpoints.delete(shardId)
    this.#leased.delete(shardId)
  }

  /** Somebody has the application go on at another place. */
  #reset(shard: StoredShard, before: Item | undefined, after: Item | undefined): void {
    const key = shard.shardId
    this.#holders.delete(key)
    if (after === undefined) {
      this.#checkpoints.delete(key)
      this.#leased.delete(key)
      this.#stored.reopen(shard)
      return
    }
    this.#leased.add(key)
    const checkpoint = checkpointOf(after)
    this.#checkpoints.set(key, checkpoint)
    // It may be as it was, or made anew for a shard that is finished.
    const isMoved = before === undefined || comparePositions(checkpointOf(before), checkpoint) !== 0
    if (!isMoved || checkpoint.sequenceNumber === SHARD_END.sequenceNumber) return
    this.#stored.reopen(shard, isSentinel(checkpoint) ? undefined : checkpoint)
  }

  /** The first lease of all: what comes from now on has to be handled. */
  #start(lease: Item): void {
    this.#hasStarted = true
    if (lease.checkpoint?.S === LATEST.sequenceNumber) this.#stored.startAt(this.#nowMs())
    if (lease.checkpoint?.S === AT_TIMESTAMP.sequenceNumber) this.#stored.startAt(this.#startAtMs)
  }

  #checkCovered(shard: StoredShard, last: Position | undefined, checkpoint: Position, writer: SimulatedProcess): void {
    const isEnd = checkpoint.sequenceNumber === SHARD_END.sequenceNumber
    if (isEnd) this.#checkChildren(shard, writer)
    if (!isEnd && isSentinel(checkpoint)) return
    if (!isEnd && !isForeign(writer) && !this.#mayCheckpoint(writer, shard.shardId, checkpoint)) {
      this.#object('checkpoints where named', `${writer.name} checkpoints ${shard.shardId} at ${show(checkpoint)}`)
    }
    for (const record of this.#stored.takeCovered(shard, isEnd ? 'end' : checkpoint)) {
      if (isForeign(writer)) this.#onHandledElsewhere(record)
      if (record.finished || this.#stored.isBeforeStart(record)) continue
      if (!this.#stored.hasExpired(record, this.#nowMs())) {
        this.#object(
          'checkpoint covers finished records',
          `${writer.name} checkpoints ${shard.shardId} at ${show(checkpoint)}, but ${record.text} at ${show(record)} isn't finished`,
        )
      } else {
        this.#expired++
        // What expires before the first checkpoint can't be told from what was never there. And no stream keeps its records for
        // less than a day, but here, so that nothing is suspected as long as it isn't known for how long.
        const isKnown = this.#nowMs() - this.#knownSinceMs(writer) > TELL_MS
        const isKnowable = last !== undefined && !isSentinel(last) && isKnown
        if (isKnowable && !this.#told.has(shard.shardId)) {
          this.#object(
            'loss is told',
            `${record.text} of ${shard.shardId} expired unread behind ${show(last)}, and nobody said so`,
          )
        }
      }
    }
  }

  /** One that had a lease may have been finished and cleared away, or deleted by hand. */
  #checkChildren({ shardId }: StoredShard, writer: SimulatedProcess): void {
    for (const child of this.#stored.shards) {
      const isChild = child.parents.some((parent) => parent.shardId === shardId)
      if (!isChild || this.#needsNoLease(child.shardId) || this.#leased.has(child.shardId)) continue
      this.#object(
        'children before the end',
        `${writer.name} ends ${shardId}, and its child ${child.shardId} has no lease`,
      )
    }
  }

  #forgetAncestors({ parents }: StoredShard): void {
    for (const parent of parents) {
      this.#checkpoints.delete(parent.shardId)
      this.#forgetAncestors(parent)
    }
  }

  #object(invariant: Invariant, message: string): void {
    this.#report(new Violation(invariant, message))
  }
}

function checkpointOf(item: Item): Position {
  return {
    sequenceNumber: item.checkpoint?.S ?? '',
    subSequenceNumber: Number(item.checkpointSubSequenceNumber?.N ?? 0),
  }
}

function show({ sequenceNumber, subSequenceNumber }: Position): string {
  return `${sequenceNumber}:${subSequenceNumber}`
}
