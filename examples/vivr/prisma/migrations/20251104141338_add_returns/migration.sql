-- AlterEnum
ALTER TYPE "UserRole" ADD VALUE 'SUPPORT';

-- AlterEnum
ALTER TYPE "OrderStatus" ADD VALUE 'RETURNED';

-- AlterEnum
ALTER TYPE "PaymentStatus" ADD VALUE 'REFUNDED';
