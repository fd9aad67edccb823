export type { Fault, FaultHandle, FaultRule, Faults } from './faults.ts'
export { KinesisModel, type KinesisModelOptions, type ModelClock, type ModelResponse } from './kinesis-model.ts'
export {
  type Local,
  type LocalClientConfig,
  type LocalClock,
  type LocalFault,
  type LocalFaults,
  type LocalOptions,
  startLocal,
} from './local.ts'
export type { Request } from './requests.ts'
export { ServiceError } from './service-error.ts'
export type { SubscribeToShardEvent, Subscription } from './subscription.ts'
