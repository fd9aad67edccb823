import {
  type AttributeValue,
  GetItemCommand,
  PutItemCommand,
  QueryCommand,
  UpdateItemCommand,
  type UpdateItemCommandInput,
} from '@aws-sdk/client-dynamodb'
import type { DynamoDB } from '@shardwise/consumer'
import { type DynamoDBService, TABLE } from './dynamodb-service.ts'
import { type KinesisService, STREAM } from './kinesis-service.ts'
import type { WorkerPlan } from './plan.ts'
import type { SimulatedProcess } from './process.ts'
import type { FleetMember } from './simulated-worker.ts'
import { type StoredShard, type StoredStream, type StoredUserRecord, shardKeyOf } from './stored-stream.ts'
import type { Trace } from './trace.ts'

type Item = Readonly<Record<string, AttributeValue>>

export interface ForeignSurroundings {
  readonly kinesis: KinesisService
  readonly dynamodb: DynamoDBService
  readonly stored: StoredStream
  readonly trace: Trace
  readonly failoverTime: number
}

/** The KCL's: how much earlier than that it does what it does every so often. */
const EPSILON_MS = 25
const ENTRY_MS = 30_000
const HANDLE_MS = 1_000
const RETRY_MS = 200
/** So many user records it takes at a time. */
const BATCH = 50

interface Held {
  readonly shard: StoredShard
  counter: number
  /** Until when it believes to hold the lease. */
  untilMs: number
  /** How many of the shard's records it has handled. */
  handled: number
  /** One thing after the other is done with it. */
  turn: Promise<void>
}

/**
 * A worker as the KCL 3.5 is to the others, by what it writes to the table: it renews its leases, finds new ones by the index,
 * shows every 30 s that it lives, hands off what it is asked to, and never leads. What it handles shows in its checkpoints only, and
 * it leaves without giving its leases back.
 */
export class ForeignWorker implements FleetMember {
  readonly process: SimulatedProcess
  readonly workerId: string
  readonly plan: WorkerPlan
  readonly excessBytes = 0
  readonly isLeader = false
  readonly wrongStatus = undefined
  readonly #surroundings: ForeignSurroundings
  readonly #client: DynamoDB
  readonly #held = new Map<string, Held>()
  #isClosing = false

  constructor(process: SimulatedProcess, workerId: string, plan: WorkerPlan, surroundings: ForeignSurroundings) {
    this.process = process
    this.workerId = workerId
    this.plan = plan
    this.#surroundings = surroundings
    this.#client = surroundings.dynamodb.clientOf(process)
    const { failoverTime } = surroundings
    this.#every(ENTRY_MS, () => this.#showEntry())
    this.#every(failoverTime - EPSILON_MS, () => this.#discover())
    this.#every(failoverTime / 3 - EPSILON_MS, () => this.#renewAll())
    this.#every(HANDLE_MS, () => this.#handleAll())
  }

  get isClosing(): boolean {
    return this.#isClosing
  }

  get isOver(): boolean {
    return this.#isClosing
  }

  get shards(): string[] {
    return [...this.#held.keys()].map((shardId) => shardKeyOf(STREAM, shardId))
  }

  get readShards(): string[] {
    return this.#isClosing || this.process.isStopped ? [] : this.shards
  }

  close(): Promise<void> {
    this.#isClosing = true
    this.#held.clear()
    return Promise.resolve()
  }

  /** What fails is done again, sooner. */
  #every(periodMs: number, act: () => Promise<void>): void {
    const { process, trace } = { ...this.#surroundings, process: this.process }
    const loop = async (): Promise<void> => {
      while (!this.#isClosing) {
        let waitMs = periodMs
        try {
          await act()
        } catch (error) {
          trace.add(process.name, `fails: ${(error as Error).name}`)
          waitMs = Math.min(RETRY_MS, periodMs)
        }
        await process.sleep(waitMs)
      }
    }
    void loop()
  }

  async #showEntry(): Promise<void> {
    const seconds = { N: String(Math.floor(this.process.wallMs() / 1_000)) }
    const Item = {
      leaseKey: { S: this.workerId },
      entityType: { S: 'WORKER_METRIC_STATS' },
      lut: seconds,
      slu: seconds,
      sup: { N: '1' },
      opr: { M: {} },
      sts: { M: {} },
    }
    await this.#client.send(new PutItemCommand({ TableName: TABLE, Item }))
  }

  async #discover(): Promise<void> {
    const { Items = [] } = await this.#client.send(
      new QueryCommand({
        TableName: TABLE,
        IndexName: 'LeaseOwnerToLeaseKeyIndex',
        KeyConditionExpression: 'leaseOwner = :me',
        ExpressionAttributeValues: { ':me': { S: this.workerId } },
      }),
    )
    for (const { leaseKey } of Items) {
      if (leaseKey?.S === undefined || this.#held.has(leaseKey.S)) continue
      const sentMs = this.process.monotonicMs()
      const lease = await this.#read(leaseKey.S)
      const isMine = lease?.leaseOwner?.S === this.workerId && lease.checkpointOwner === undefined
      const shard = this.#surroundings.stored.shard(leaseKey.S)
      if (lease === undefined || shard === undefined || !isMine || isFinished(lease) || this.#isClosing) continue
      const untilMs = sentMs + this.#surroundings.failoverTime
      const counter = Number(lease.leaseCounter?.N)
      this.#held.set(leaseKey.S, { shard, counter, untilMs, handled: countOf(shard, lease), turn: Promise.resolve() })
    }
  }

  async #renewAll(): Promise<void> {
    await this.#withEach((key, held) => this.#renew(key, held))
  }

  async #renew(key: string, held: Held): Promise<void> {
    if (await this.#write(key, held, 'attribute_not_exists(checkpointOwner)', {})) return
    const lease = await this.#read(key)
    const counter = Number(lease?.leaseCounter?.N)
    const isHandoff = lease?.checkpointOwner?.S === this.workerId && lease.leaseOwner?.S !== this.workerId
    if (isHandoff && counter === held.counter) await this.#handOff(key, held, lease)
    else if (lease?.leaseOwner?.S === this.workerId && counter === held.counter + 1) held.counter = counter
    else this.#held.delete(key)
  }

  /** What it has in hand is finished at once. */
  async #handOff(key: string, held: Held, lease: Item): Promise<void> {
    await this.#checkpoint(key, held)
    this.#held.delete(key)
    await this.#client.send(
      update(key, {
        UpdateExpression: 'SET leaseOwner = :owner ADD leaseCounter :one REMOVE checkpointOwner',
        ConditionExpression: 'leaseOwner = :owner AND checkpointOwner = :me',
        ExpressionAttributeValues: { ':owner': lease.leaseOwner!, ':me': { S: this.workerId }, ':one': { N: '1' } },
      }),
    )
  }

  async #handleAll(): Promise<void> {
    await this.#withEach(async (key, held) => {
      if (this.process.monotonicMs() >= held.untilMs) this.#held.delete(key)
      else await this.#handle(key, held)
    })
  }

  async #withEach(act: (key: string, held: Held) => Promise<void>): Promise<void> {
    await Promise.all(
      [...this.#held].map(([key, held]) => {
        const done = held.turn.then(async () => {
          if (this.#held.get(key) === held) await act(key, held)
        })
        held.turn = done.catch(() => undefined)
        return done
      }),
    )
  }

  async #handle(key: string, held: Held): Promise<void> {
    const { shard } = held
    const parents = await Promise.all(shard.parents.map(({ shardId }) => this.#read(shardId)))
    if (parents.some((parent) => parent !== undefined && !isFinished(parent))) return
    const batch = shard.records.slice(held.handled, held.handled + BATCH)
    const last = batch.at(-1)
    if (last !== undefined) {
      // An aggregate is taken as a whole.
      const end = shard.records.findLastIndex(({ sequenceNumber }) => sequenceNumber === last.sequenceNumber)
      held.handled = end + 1
      await this.#checkpoint(key, held)
    } else if (!this.#surroundings.kinesis.openShardIds().includes(key)) {
      await this.#end(key, held)
    }
  }

  async #checkpoint(key: string, held: Held): Promise<void> {
    const last = held.shard.records[held.handled - 1]
    if (last === undefined) return
    await this.#write(key, held, undefined, checkpointOf(last))
  }

  async #end(key: string, held: Held): Promise<void> {
    const children = [...this.#surroundings.stored.shards].filter(({ parents }) => parents.includes(held.shard))
    if (children.length === 0) return
    for (const child of children) {
      const parents = await Promise.all(child.parents.map(({ shardId }) => this.#read(shardId)))
      if (parents.includes(undefined)) return
      await this.#create(child)
    }
    const isDone = await this.#write(key, held, undefined, {
      checkpoint: { S: 'SHARD_END' },
      checkpointSubSequenceNumber: { N: '0' },
      childShardIds: { SS: children.map(({ shardId }) => shardId) },
    })
    if (isDone) this.#held.delete(key)
  }

  async #create({ shardId, hashRange, parents }: StoredShard): Promise<void> {
    const Item = {
      leaseKey: { S: shardId },
      entityType: { S: 'LEASE' },
      leaseCounter: { N: '0' },
      checkpoint: { S: 'TRIM_HORIZON' },
      checkpointSubSequenceNumber: { N: '0' },
      ownerSwitchesSinceCheckpoint: { N: '0' },
      startingHashKey: { S: String(hashRange.start) },
      endingHashKey: { S: String(hashRange.end) },
      parentShardId: { SS: parents.map((parent) => parent.shardId) },
    }
    await unlessRefused(
      this.#client.send(
        new PutItemCommand({ TableName: TABLE, Item, ConditionExpression: 'attribute_not_exists(leaseKey)' }),
      ),
    )
  }

  /** Resolves to false if the counter isn't as it was left. */
  async #write(key: string, held: Held, condition: string | undefined, set: Item): Promise<boolean> {
    const sentMs = this.process.monotonicMs()
    const sets = Object.keys(set).map((name) => `, ${name} = :${name}`)
    const written = await unlessRefused(
      this.#client.send(
        update(key, {
          UpdateExpression: `SET leaseCounter = :next${sets.join('')}`,
          ConditionExpression: ['leaseCounter = :mine', ...(condition === undefined ? [] : [condition])].join(' AND '),
          ExpressionAttributeValues: {
            ':mine': { N: String(held.counter) },
            ':next': { N: String(held.counter + 1) },
            ...Object.fromEntries(Object.entries(set).map(([name, value]) => [`:${name}`, value])),
          },
        }),
      ),
    )
    if (written === undefined) return false
    held.counter++
    held.untilMs = sentMs + this.#surroundings.failoverTime
    return true
  }

  async #read(key: string): Promise<Item | undefined> {
    const { Item } = await this.#client.send(
      new GetItemCommand({ TableName: TABLE, Key: { leaseKey: { S: key } }, ConsistentRead: true }),
    )
    return Item
  }
}

function update(key: string, rest: Omit<UpdateItemCommandInput, 'TableName' | 'Key'>): UpdateItemCommand {
  return new UpdateItemCommand({ TableName: TABLE, Key: { leaseKey: { S: key } }, ...rest })
}

async function unlessRefused<T>(answered: Promise<T>): Promise<T | undefined> {
  try {
    return await answered
  } catch (error) {
    if ((error as Error).name === 'ConditionalCheckFailedException') return undefined
    throw error
  }
}

function isFinished(lease: Item): boolean {
  return lease.checkpoint?.S === 'SHARD_END'
}

function checkpointOf({ sequenceNumber, subSequenceNumber }: StoredUserRecord): Item {
  return {
    checkpoint: { S: sequenceNumber },
    checkpointSubSequenceNumber: { N: String(subSequenceNumber) },
    ownerSwitchesSinceCheckpoint: { N: '0' },
  }
}

/** How many records the lease's checkpoint covers. */
function countOf({ records }: StoredShard, { checkpoint, checkpointSubSequenceNumber }: Item): number {
  const sub = Number(checkpointSubSequenceNumber?.N ?? 0)
  return (
    records.findLastIndex(
      ({ sequenceNumber, subSequenceNumber }) => sequenceNumber === checkpoint?.S && subSequenceNumber === sub,
    ) + 1
  )
}
