import { oneOf, optionalString, type Request, structure } from './requests.ts'
import type { Service } from './service.ts'
import { settleAll } from './streams.ts'

/** The defaults of an account in the larger regions (AWS documentation, "Quotas and limits"). Nothing here enforces them. */
const SHARD_LIMIT = 20_000
const ON_DEMAND_STREAM_LIMIT = 50

export function describeLimits(service: Service): object {
  settleAll(service)
  const streams = [...service.streams.values()]
  return {
    ShardLimit: SHARD_LIMIT,
    OpenShardCount: streams.reduce((sum, { openShards }) => sum + openShards.length, 0),
    OnDemandStreamCount: streams.filter(({ mode }) => mode === 'ON_DEMAND').length,
    OnDemandStreamCountLimit: ON_DEMAND_STREAM_LIMIT,
  }
}

/** Whether the account has committed itself to a minimum throughput: only kept and told. */
export interface AccountSettings {
  commitment: 'ENABLED' | 'DISABLED'
}

export function describeAccountSettings({ account }: Service): object {
  return { MinimumThroughputBillingCommitment: { Status: account.commitment } }
}

export function updateAccountSettings(service: Service, request: Request): object {
  const commitment = structure(request, 'MinimumThroughputBillingCommitment')
  service.account.commitment = oneOf('Status', optionalString(commitment, 'Status'), ['ENABLED', 'DISABLED'])
  return describeAccountSettings(service)
}
