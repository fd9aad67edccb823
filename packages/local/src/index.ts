export { KinesisModel, type KinesisModelOptions, type ModelClock } from './kinesis-model.ts'
export { type Local, type LocalClientConfig, type LocalOptions, startLocal } from './local.ts'
export type { Request } from './requests.ts'
export { ServiceError } from './service-error.ts'
