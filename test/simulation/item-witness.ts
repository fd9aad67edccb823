import type { AttributeValue } from '@aws-sdk/client-dynamodb'
import type { LeaseWrite } from './lease-witness.ts'
import { isResetter } from './process.ts'
import { type Invariant, Violation } from './violation.ts'

type Item = Readonly<Record<string, AttributeValue>>

/** The KCL's two-phase checkpoint: void once a later checkpoint is written, and not before. */
const PENDING: ReadonlySet<string> = new Set([
  'pendingCheckpoint',
  'pendingCheckpointSubSequenceNumber',
  'pendingCheckpointState',
])
/** What the consumer may take away from a lease. */
const REMOVABLE: ReadonlySet<string> = new Set(['leaseOwner', 'checkpointOwner', ...PENDING])
/** What it may change. */
const KNOWN: ReadonlySet<string> = new Set([
  ...REMOVABLE,
  'leaseKey',
  'entityType',
  'leaseCounter',
  'checkpoint',
  'checkpointSubSequenceNumber',
  'ownerSwitchesSinceCheckpoint',
  'parentShardId',
  'childShardIds',
  'startingHashKey',
  'endingHashKey',
  'throughputKBps',
  'streamName',
  'shardId',
])

export interface ItemWitnessOptions {
  readonly nowMs: () => number
  /** How long a handoff may take at most; Infinity where anything may hold it up. */
  readonly handoffMs: number
  readonly report: (violation: Violation) => void
}

/** Looks at lease items as such: what a write does to the attributes that others rely on. */
export class ItemWitness {
  readonly #options: ItemWitnessOptions
  /** Since when each handoff is under way. */
  readonly #handoffs = new Map<string, number>()
  #longestHandoffMs = 0

  constructor(options: ItemWitnessOptions) {
    this.#options = options
  }

  get longestHandoffMs(): number {
    return this.#longestHandoffMs
  }

  written({ key, before, after, writer }: LeaseWrite): void {
    this.#followHandoff(key, before, after)
    if (before === undefined || after === undefined || writer === undefined) return
    if (Number(after.leaseCounter?.N) < Number(before.leaseCounter?.N)) {
      this.#object(
        'counters only grow',
        `${writer.name} sets the counter of ${key} from ${before.leaseCounter?.N} to ${after.leaseCounter?.N}`,
      )
    }
    for (const [name, value] of Object.entries(before)) {
      const now = after[name]
      const mayGo = REMOVABLE.has(name) || (isResetter(writer) && isOfItsEnd(name))
      if (now === undefined ? !mayGo : !isOurs(name) && show(now) !== show(value)) {
        this.#object('strange attributes survive', `${writer.name} makes ${name} of ${key} ${show(now)}`)
      }
    }
    const hasMoved = show(before.checkpoint) !== show(after.checkpoint) || subOf(before) !== subOf(after)
    const lost = [...PENDING].find((name) => before[name] !== undefined && after[name] === undefined)
    if (lost !== undefined && !hasMoved && !isResetter(writer)) {
      this.#object('strange attributes survive', `${writer.name} takes ${lost} from ${key}, whose checkpoint stays`)
    }
  }

  #followHandoff(key: string, before: Item | undefined, after: Item | undefined): void {
    const { nowMs, handoffMs } = this.#options
    const isUnderWay = after?.checkpointOwner !== undefined
    if (isUnderWay && before?.checkpointOwner === undefined) this.#handoffs.set(key, nowMs())
    const sinceMs = this.#handoffs.get(key)
    if (sinceMs === undefined) return
    const tookMs = nowMs() - sinceMs
    if (tookMs > handoffMs) {
      this.#object('handoffs end', `the handoff of ${key} has taken ${tookMs.toFixed(0)} of ${handoffMs.toFixed(0)} ms`)
    }
    if (isUnderWay) return
    this.#handoffs.delete(key)
    this.#longestHandoffMs = Math.max(this.#longestHandoffMs, tookMs)
  }

  #object(invariant: Invariant, message: string): void {
    this.#options.report(new Violation(invariant, message))
  }
}

function isOurs(name: string): boolean {
  return KNOWN.has(name) || name.startsWith('shardwise')
}

/** Who has a shard read again takes away what says how it ended, or how it was read. */
function isOfItsEnd(name: string): boolean {
  return name === 'childShardIds' || name.startsWith('shardwise')
}

function subOf({ checkpointSubSequenceNumber }: Item): string | undefined {
  return checkpointSubSequenceNumber?.N
}

function show(value: AttributeValue | undefined): string {
  return value === undefined ? 'nothing' : JSON.stringify(value)
}
