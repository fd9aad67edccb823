import type { AttributeValue } from '@aws-sdk/client-dynamodb'

/** What a worker writes to the table, by its part in the life of an application. */
export const TABLE_WRITES = [
  'createTable',
  'tableState',
  'createLease',
  'deleteLease',
  'assign',
  'acquire',
  'renew',
  'checkpoint',
  'handoff',
  'handoffRelease',
  'release',
  'shardEnd',
  'leaderLock',
  'leaderRelease',
  'workerEntry',
  'workerLeave',
  'repairLease',
  'prepare',
] as const
export type TableWrite = (typeof TABLE_WRITES)[number]

/** A request to the table, as far as a witness can tell from it what its sender is about. */
export interface TableRequest {
  readonly operation: string
  /** Of the item, if it is about one. */
  readonly key: string | undefined
  /** Undefined for reads. */
  readonly write: TableWrite | undefined
  readonly isConditional: boolean
}

export const LEADER_KEY = 'Leader'
const STATE_KEY = 'Migration3.0'

interface Input {
  readonly Key?: { readonly leaseKey?: { readonly S?: string } }
  readonly UpdateExpression?: string
  readonly ConditionExpression?: string
  readonly ExpressionAttributeNames?: Readonly<Record<string, string>>
  readonly ExpressionAttributeValues?: Readonly<Record<string, AttributeValue>>
}

export function tableRequest(operation: string, input: object): TableRequest {
  const request = input as Input
  const key = request.Key?.leaseKey?.S
  return {
    operation,
    key,
    write: writeOf(operation, key, request),
    isConditional: request.ConditionExpression !== undefined,
  }
}

export function isLeaseKey(key: string): boolean {
  return /(^|:)shardId-/.test(key)
}

function writeOf(operation: string, key: string | undefined, request: Input): TableWrite | undefined {
  if (operation === 'CreateTable') return 'createTable'
  if (key === undefined || (operation !== 'UpdateItem' && operation !== 'DeleteItem')) return undefined
  const isDelete = operation === 'DeleteItem'
  if (key === LEADER_KEY) return isDelete ? 'leaderRelease' : 'leaderLock'
  if (key === STATE_KEY) return 'tableState'
  if (!isLeaseKey(key)) return isDelete ? 'workerLeave' : 'workerEntry'
  return isDelete ? 'deleteLease' : leaseWriteOf(request)
}

function leaseWriteOf(request: Input): TableWrite {
  const { set, removed } = changesOf(request)
  if (set.has('entityType')) return 'createLease'
  if (set.get('checkpoint')?.S === 'SHARD_END') return 'shardEnd'
  if (set.has('shardwiseToken')) return 'acquire'
  if (set.has('checkpointOwner')) return 'handoff'
  if (removed.has('leaseOwner')) return 'release'
  if (set.has('leaseOwner')) return 'assign'
  if (removed.has('checkpointOwner')) return 'handoffRelease'
  if (set.has('pendingCheckpoint')) return 'prepare'
  if (set.has('checkpoint')) return 'checkpoint'
  return set.has('leaseCounter') ? 'renew' : 'repairLease'
}

/** Which attributes an update sets and which it removes. */
function changesOf({
  UpdateExpression: expression = '',
  ExpressionAttributeNames: names = {},
  ExpressionAttributeValues: values = {},
}: Input): { readonly set: ReadonlyMap<string, AttributeValue | undefined>; readonly removed: ReadonlySet<string> } {
  const nameOf = (alias: string): string => names[alias] ?? alias
  const set = [...expression.matchAll(/([#\w.]+) = (:\w+)/g)].map(
    ([, name = '', value = '']) => [nameOf(name), values[value]] as const,
  )
  const removed = /REMOVE ([^=]*?)(?:SET|ADD|DELETE|$)/.exec(expression)?.[1] ?? ''
  return {
    set: new Map(set),
    removed: new Set(
      removed
        .split(/[\s,]+/)
        .filter(Boolean)
        .map(nameOf),
    ),
  }
}
