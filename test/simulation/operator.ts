import type { AttributeValue } from '@aws-sdk/client-dynamodb'
import { type DynamoDBService, TABLE } from './dynamodb-service.ts'
import type { Fault } from './faults.ts'
import type { KinesisService } from './kinesis-service.ts'
import { isLeaseKey, LEADER_KEY } from './table-requests.ts'
import { placeOfLease } from './watched-streams.ts'

type Item = Readonly<Record<string, AttributeValue>>

/** What another program has left in a lease, and nobody here knows. */
const STRANGE: Item = { retryNote: { S: 'keep me' }, quota: { N: '7' } }
const PENDING: Item = {
  pendingCheckpoint: { S: 'TRIM_HORIZON' },
  pendingCheckpointSubSequenceNumber: { N: '0' },
  pendingCheckpointState: { B: Uint8Array.of(1, 2, 3) },
}

/** Somebody who changes the table by hand, past all conditions. */
export class Operator {
  readonly #dynamodb: DynamoDBService
  readonly #kinesis: KinesisService

  constructor(dynamodb: DynamoDBService, kinesis: KinesisService) {
    this.#dynamodb = dynamodb
    this.#kinesis = kinesis
  }

  act({ act, where }: Extract<Fault, { kind: 'operator' }>): void {
    if (act === 'clearLeader') this.#delete(LEADER_KEY)
    else if (act === 'deleteEntry') this.#deleteOne(where, ({ entityType }) => entityType?.S === 'WORKER_METRIC_STATS')
    else {
      this.#deleteOne(where, ({ leaseKey }) => {
        if (!isLeaseKey(leaseKey!.S!)) return false
        const { stream, shardId } = placeOfLease(leaseKey!.S!)
        return this.#kinesis.openShardIds(stream).includes(shardId)
      })
    }
  }

  /** Adds to a lease what its workers don't know, and a checkpoint that was prepared. */
  plant(leaseKey: string): void {
    const planted = Object.entries({ ...STRANGE, ...PENDING })
    this.#dynamodb.operate('UpdateItem', {
      TableName: TABLE,
      Key: { leaseKey: { S: leaseKey } },
      UpdateExpression: `SET ${planted.map(([name]) => `${name} = :${name}`).join(', ')}`,
      ExpressionAttributeValues: Object.fromEntries(planted.map(([name, value]) => [`:${name}`, value])),
    })
  }

  #deleteOne(where: number, isMeant: (item: Item) => boolean): void {
    const items = this.#dynamodb.items().filter(isMeant)
    const key = items[Math.floor(where * items.length)]?.leaseKey?.S
    if (key !== undefined) this.#delete(key)
  }

  #delete(key: string): void {
    if (this.#dynamodb.items().length === 0) return
    this.#dynamodb.operate('DeleteItem', { TableName: TABLE, Key: { leaseKey: { S: key } } })
  }
}
